"""The run command from end to end on small features and images, and each bad input's one line."""

import json
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_sib.errors import InputError
from pyro_sib.experiments import run as run_command
from pyro_sib.experiments.compare import CompareSettings
from pyro_sib.experiments.comparison.compare import compare
from pyro_sib.experiments.job import run as run_module
from pyro_sib.experiments.job import train as train_module
from pyro_sib.experiments.job import train_warnings as warnings_module
from pyro_sib.experiments.job.restore import restore
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import read_json
from pyro_sib.inference import GuideSettings
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.models import PRIORS
from pyro_sib.tensor_files import read_tensors

ROOT = Path(__file__).parents[2]


def write_features(path: Path, classes: int = 8, rows: int = 24, features: int = 12, **changes: np.ndarray) -> Path:
    """Clusters in `features` dimensions for train, val and test."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "val", "test"):
        y = np.arange(classes).repeat(rows)
        x = rng.normal(size=(classes, features))[y] + 0.7 * rng.normal(size=(len(y), features))
        arrays |= {f"{split}_x": x.astype(np.float32), f"{split}_y": y}
    np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
    return path


@pytest.fixture
def small(tmp_path) -> RunSettings:
    return small_settings(tmp_path)


def small_settings(folder) -> RunSettings:
    return RunSettings(
        setting="lwof",
        features=write_features(folder / "features.npz"),
        ways=3,
        queries=4,
        iterations=6,
        epochs=3,
        select_tasks=10,
        eval_tasks=20,
        draws=2,
        out=folder / "out",
        cache_dir=folder / "cache",
    )


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_a_run_is_evaluated_on_both_balances(small, setting):
    small = replace(small, setting=setting, compare=False, second_balance="dirichlet:1")
    result = run(small)
    assert result.options["train_query_balance"] == result.query_balance == "balanced"
    assert result.second.query_balance == "dirichlet:1"
    assert result.second.metrics.keys() == result.metrics.keys()
    assert result.second.metrics != result.metrics
    lines = (small.out / "tasks.csv").read_text().splitlines()
    assert sum(line.startswith("posterior dirichlet:1,") for line in lines) == 20


def best_of(out: Path) -> float:
    """Best accuracy of the epochs that a run's checkpoint tells of."""
    return max(record["accuracy"] for record in read_tensors(out / "sib.safetensors")[1]["log"])


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_a_run_leaves_everything_it_promises(small, setting, tmp_path, capsys, rendered):
    result = run(replace(small, setting=setting))
    shown = capsys.readouterr().out
    assert "KL, nats" in shown
    for row in (result, result.comparison):
        assert f"{row.elbo_parts.kl:,.1f}" in shown
        assert (row.joint is None) == (setting == "standard")
        if row.joint:
            assert row.joint.errors["right"] == pytest.approx(row.metrics["both"].mean, abs=0.01)
            assert row.elbo_parts.base_kl > 0
    out = tmp_path / "out"
    assert {p.name for p in out.glob("*.png")} == {"accuracy_against_K.png", "training.png", "task.png"}
    held = read_json(out / "result.json")
    assert held == json.loads(json.dumps(result.to_json()))
    assert Result.read(out / "result.json") == result
    promised = "setting split tasks steps ways shots guide prior seed commit versions seconds kl_weight iterations"
    assert {*promised.split(), "version", "learning_rate"} <= held.keys()
    assert {"name", "fingerprint", "base_holdout", "notes", "skipped"} <= held["data"].keys()
    assert result.selected_on == "validation classes"
    assert (result.course.tasks, result.course.best) == (small.select_tasks, pytest.approx(best_of(out), abs=1e-3))
    said = [line for line in result.warnings if not line.startswith("K = ")]
    assert result.course.below_theta0 == any("lose accuracy" in line or "theta^0" in line for line in said)
    assert set(result.metrics) == ({"novel"} if setting == "standard" else {"novel", "base", "both"})
    lines = (out / "tasks.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines if line.startswith("posterior,")]
    assert len(rows) == 20
    assert np.mean([float(r[2]) for r in rows]) == pytest.approx(result.metrics["novel"].mean, abs=1e-2)
    assert list((out / "tensorboard").rglob("events.*"))
    tensors, meta = read_tensors(out / "sib.safetensors")
    assert len(meta["log"]) == 3
    assert any(name.startswith("best.guide.xi") for name in tensors)


@pytest.mark.parametrize("setting", ["standard", "lwof"])
@pytest.mark.parametrize(
    ("guide", "steps"),
    [
        ("mean-field", 1),
        ("mean-field-oracle", 1),
        ("neural-process", 0),
        ("attentive-neural-process", 0),
        ("meta-lstm", 3),
        ("gidaris-attention", 0),
    ],
)
def test_every_guide_runs_and_tells_its_steps(small, setting, guide, steps):
    budget = {"iterations": 4, "epochs": 2, "fit_steps": 5, "compare": False, "kl_weight": 1e-3}
    result = run(replace(small, setting=setting, guide=guide, initializer="both", **budget))
    assert result.steps == steps
    assert len(result.iterates) == steps + 1
    assert result.oracle == guide.endswith("oracle")
    assert result.gradient_cosine == ()


@pytest.mark.parametrize("setting", ["standard", "lwof"])
@pytest.mark.parametrize(("guide", "xi"), [("sib", "context"), ("gidaris-attention", "mlp"), ("meta-lstm", "mlp")])
def test_what_was_trained_on_few_classes_serves_more(small, setting, guide, xi, monkeypatch):
    trained = []
    monkeypatch.setattr(run_module, "train", lambda *args: trained.append(args[2]) or train_module.train(*args))
    chosen = replace(small, guide=guide, synthetic_gradient=xi, iterations=4, epochs=2, compare=False)
    result = run(replace(chosen, setting=setting, train_ways=3, ways=6, queries=2))
    assert (result.ways, result.options["train_ways"]) == (6, 3)
    shapes = {purpose: source.sampler.shape for purpose, source in trained[0].items()}
    base = {3: 6, 6: 12} if setting == "lwof" else {3: 0, 6: 0}
    for purpose, ways in {"train": 3, "select": 3, "evaluate": 6}.items():
        assert (shapes[purpose].ways, shapes[purpose].base_queries) == (ways, base[ways])
    assert replace(chosen, train_ways=3).resolved().train_ways is None


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_steps_start_from_attention_to_base_classes_that_the_tasks_carry(small, setting):
    """In the standard setting too, where nothing else asks for base classes."""
    result = run(replace(small, setting=setting, initializer="attention", iterations=4, epochs=2))
    assert result.options["initializer"] == "attention"
    assert result.comparison is not None
    plain = replace(small, guide="gidaris-attention", initializer="support").resolved()
    assert (plain.initializer, plain.steps) == ("attention", 0)


@pytest.mark.parametrize(
    ("guide", "setting"), [("prototypical", "lwof"), ("matching", "standard"), ("snail", "standard")]
)
def test_every_baseline_runs(small, guide, setting):
    budget = {"iterations": 4, "epochs": 2, "compare": False}
    result = run(replace(small, setting=setting, guide=guide, **budget))
    assert result.steps == 0
    assert result.elbo is result.elbo_parts is result.scales is None
    assert (small.out / "training.png").exists()
    assert not (small.out / "task.png").exists()


def test_the_gradients_cosine_is_logged_along_training(small):
    result = run(replace(small, steps=2))
    assert [point.iteration for point in result.gradient_cosine] == [2, 4, 6]
    assert all(len(point.cosine) == 2 for point in result.gradient_cosine)
    assert all(-1 <= c <= 1 for point in result.gradient_cosine for c in point.cosine)
    assert "extra" not in result.train_log[0]


def test_the_best_epoch_may_be_chosen_by_log_likelihood(small):
    result = run(replace(small, select_by="log-likelihood", epochs=6, learning_rate=0.3, compare=False))
    log = result.train_log
    best = max(record["log_likelihood"] for record in log)
    kept = next(record for record in log if record["log_likelihood"] == best)
    assert result.course.best == pytest.approx(kept["accuracy"], abs=1e-3)
    assert best > log[-1]["log_likelihood"] + 0.01  # so that the last epoch is not it
    back = restore(small.out, Reporter(), small.cache_dir)
    scores = evaluate(back.program.guide, back.sources["select"], small.select_tasks)[0]
    assert -float(scores.nll.mean()) == pytest.approx(best, abs=1e-4)


def test_the_options_of_a_guide_reach_it(small):
    ours = replace(small, fit_steps=7, step_samples=2, initializer="both").resolved().guide_settings()
    assert (ours.fit_steps, ours.step_samples, ours.initializer) == (7, 2, "both")
    shared = {f.name for f in fields(GuideSettings)} & {f.name for f in fields(RunSettings)}
    assert {f.name for f in fields(GuideSettings)} - shared == {"psi_through_steps"}
    defaults = replace(small, setting="standard").resolved().guide_settings()
    assert all(getattr(defaults, name) == getattr(GuideSettings(), name) for name in shared)


def test_a_share_of_novel_queries_is_scored_beside_the_prediction(small, monkeypatch):
    monkeypatch.setattr(run_module, "draw_pictures", lambda *args: None)
    small = replace(small, compare=False, novel_share=(0.0, 1e9))
    result = run(small)
    nothing, all_of_it = result.novel_share_scores
    assert nothing.metrics == result.metrics
    assert all_of_it.strength == 1e9
    for name in ("novel", "base"):  # of each kind by itself, which the offset leaves alone
        assert all_of_it.metrics[name] == result.metrics[name]
    assert all_of_it.joint.errors != result.joint.errors
    assert run(small) == result
    lines = (small.out / "tasks.csv").read_text().splitlines()
    assert sum(line.startswith("posterior novel share 1e+09,") for line in lines) == 20


@pytest.mark.parametrize("prior", [prior for prior in PRIORS if prior not in ("diagonal", "mixture")])
@pytest.mark.parametrize(("setting", "objective"), [("standard", "trace"), ("lwof", "mean-field")])
def test_every_prior_runs(small, prior, setting, objective, monkeypatch):
    """From the command's settings to the result; the pictures are the same for every prior."""
    monkeypatch.setattr(run_module, "draw_pictures", lambda *args: None)
    settings = replace(small, setting=setting, prior=prior, objective=objective, particles=2, compare=False)
    result = run(settings)
    assert result.prior == prior
    assert result.scales.prior > 0
    assert np.isfinite(result.elbo)
    assert settings.resolved().weights().tasks_in_all == small.iterations * 8


def test_a_run_that_went_wrong_says_so(small, capsys, monkeypatch):
    small = replace(small, setting="standard", step_size=0.05)
    run(small)
    assert "warning" not in capsys.readouterr().out
    monkeypatch.setattr(warnings_module, "has_diverged", lambda log: log[-1].iteration == small.iterations)
    result = run(replace(small, out=small.out.parent / "diverged"))
    assert "warning: training diverged, the loss went from" in capsys.readouterr().out
    assert result.warnings[0].startswith("training diverged")


def test_a_float64_default_changes_nothing(small, monkeypatch):
    monkeypatch.setattr(run_module, "draw_pictures", lambda *args: None)
    small = replace(small, threads=1)
    expected = run(small)
    torch.set_default_dtype(torch.float64)
    try:
        found = run(replace(small, out=small.out.parent / "double"))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.metrics == expected.metrics
    assert found.train_log == expected.train_log


@pytest.mark.parametrize("factor", [1e20, 1e-9])
def test_features_of_another_scale_are_named_and_served(small, capsys, monkeypatch, factor):
    monkeypatch.setattr(run_module, "draw_pictures", lambda *args: None)
    small = replace(small, setting="standard", guide="init-only", iterations=2, epochs=1, eval_tasks=100)
    with np.load(small.features) as held:
        arrays = {n: a * np.float32(factor) if n.endswith("x") else a for n, a in held.items()}
    other = small.features.parent / "other.npz"
    np.savez(other, **arrays)
    plain, found = run(small), run(replace(small, features=other, out=small.out.parent / "other"))
    assert abs(found.metrics["novel"].mean - plain.metrics["novel"].mean) < 5
    assert "were multiplied by 2^" in found.data.notes[0]
    assert "warning: the features, numbers of up to about" in capsys.readouterr().out


def test_steps_that_lose_what_class_means_have_are_named(small, monkeypatch):
    """Fifty steps of a size that training has no time to mend."""
    monkeypatch.setattr(run_module, "draw_pictures", lambda *args: None)
    many = {"steps": 50, "step_size": 30.0, "iterations": 4, "epochs": 2, "select_tasks": 60, "eval_tasks": 60}
    result = run(replace(small, setting="standard", **many))
    assert result.comparison.metrics["novel"].mean > result.metrics["novel"].mean + 10
    said = " ".join(result.warnings)
    assert "the 50 steps lose accuracy" in said
    assert result.course.below_theta0
    assert result.course.theta0 > result.course.best + 5
    assert "K = 50 is" in said


def test_a_posterior_that_collapsed_is_named(small, capsys):
    """Under a KL that heavy q is the prior, the same for every class."""
    collapsed = replace(small, setting="standard", guide="neural-process", kl_weight=1e4, select_tasks=200)
    run(replace(collapsed, iterations=150))
    assert "where chance is 33.3%: q tells the classes" in capsys.readouterr().out


def test_the_mixture_has_a_weight_of_its_own_unless_one_is_given():
    chosen = {
        ("standard", None, None): 0.1,
        ("standard", "mixture", None): 0.032,
        ("lwof", None, None): 0.032,
        ("lwof", "diagonal", None): 0.1,
        ("lwof", None, 0.0): 0.0,
    }
    jobs = {given: RunSettings(*given[:1], prior=given[1], kl_weight=given[2]).resolved() for given in chosen}
    assert {given: job.weights().kl for given, job in jobs.items()} == chosen


def test_only_short_standard_runs_learn_faster_than_the_paper():
    rates = {
        (setting, iterations): RunSettings(setting=setting, iterations=iterations).resolved().learning_rate
        for setting in ("standard", "lwof")
        for iterations in (1500, 60_000)
    }
    assert rates == {
        ("standard", 1500): 3e-3,
        ("standard", 60_000): 1e-3,
        ("lwof", 1500): 1e-3,
        ("lwof", 60_000): 1e-3,
    }


def test_a_finished_run_is_shown_again_and_another_configuration_is_refused(small):
    first = run(small)
    assert run(small) == first
    with pytest.raises(InputError, match="holds a run with other settings"):
        run(replace(small, learning_rate=0.1))


def test_a_mended_command_is_not_taken_for_another_configuration(small):
    """Whatever is found wrong in the data, their path or the tasks' sizes leaves the folder free."""
    wrong = ({"features": small.features.with_name("nowhere.npz")}, {"queries": 10_000})
    for change in wrong:
        with pytest.raises(InputError):
            run(replace(small, **change))
        assert not (small.out / "config.json").exists()
    for change in wrong:
        with pytest.raises(InputError):
            compare(CompareSettings(**{**vars(_compared(small)), **change}))
    assert not list(small.out.glob("*/config.json"))


def _compared(settings):
    shared = ("features", "ways", "queries", "cache_dir", "out")
    return CompareSettings(comparators="soft-k-means", **{name: getattr(settings, name) for name in shared})


def test_a_folder_from_before_a_setting_existed_is_of_its_default(small):
    first = run(small)
    path = small.out / "config.json"
    config = json.loads(path.read_text())
    del config["hold_out_classes"]
    path.write_text(json.dumps(config))
    assert run(small) == first
    with pytest.raises(InputError, match="other settings \\(hold_out_classes\\)"):
        run(replace(small, hold_out_classes=2))


def test_classes_held_out_are_what_is_evaluated_on(small):
    result = run(replace(small, setting="standard", hold_out_classes=3, out=small.out / "held"))
    assert result.split == "val"
    assert "3 base classes held out as val" in result.data.base_holdout


def test_images_and_tuned_features(tmp_path, tiny_world, rendered):
    """From pixels: a tiny synthetic world, f pretrained and tuned on."""
    settings = RunSettings(
        setting="lwof",
        image_size=16,
        pretrain_epochs=1,
        pretrain_batch_size=16,
        ways=3,
        queries=4,
        iterations=4,
        epochs=2,
        batch_size=2,
        select_tasks=4,
        eval_tasks=6,
        draws=2,
        tune_features=True,
        kl_weight=1e-3,
        cache_dir=tmp_path / "cache",
        out=tmp_path / "out",
    )
    result = run(settings)
    assert result.base_accuracy is not None
    tensors, _ = read_tensors(tmp_path / "out" / "sib.safetensors")
    weights = [t for name, t in tensors.items() if name.startswith("best.features.") and name.endswith(".weight")]
    pretrained, _ = read_tensors(next((tmp_path / "cache" / "backbones").glob("*.safetensors")))
    moved = [
        not torch.equal(t, pretrained["net.backbone." + name.removeprefix("best.features.backbone.")])
        for name, t in tensors.items()
        if name.startswith("best.features.") and name.endswith(".weight")
    ]
    assert weights
    assert all(moved)


def _main(monkeypatch, capsys, *options: str) -> tuple[int, str]:
    def no_long_work(*args, **kwargs):
        raise AssertionError("long work began before the input was checked")

    monkeypatch.setattr(run_module, "prepare", no_long_work)
    monkeypatch.setattr(sys, "argv", ["run", *options])
    code = run_command.main()
    return code, capsys.readouterr().err


def _csv_images(root: Path, images_per_class: int = 6, splits: tuple[str, ...] = ("train", "val")) -> Path:
    (root / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in splits:
        lines = ["filename,label"]
        for c in range(6):
            for i in range(images_per_class):
                name = f"{split}{c:02d}{i:03d}.jpg"
                Image.fromarray(rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)).save(root / "images" / name)
                lines.append(f"{name},{split}{c}")
        (root / f"{split}.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--data mini-imagenet --data-root {tmp}/nowhere", "nowhere"),
        ("--data mini-imagenet", "needs --data-root"),
        ("--prior cauchy", "unknown prior 'cauchy'; choose one of isotropic, diagonal, mixture"),
        ("--guide maml2", "unknown guide 'maml2'; choose one of sib, init-only"),
        ("--query-balance even", "unknown query balance 'even'; choose balanced, dirichlet:ALPHA or mixed:ALPHA"),
        ("--second-balance dirichlet:0", "unknown query balance 'dirichlet:0'"),
        ("--features {tmp}/good.npz --query-balance dirichlet:2", "needs 76"),
        ("--guide snail", "--guide snail cannot serve --setting lwof; choose standard, or one of sib"),
        ("--backbone vgg", "unknown backbone 'vgg'"),
        ("--schedule never", "unknown --schedule 'never'"),
        ("--select-by luck", "unknown --select-by 'luck'"),
        ("--kl-weight -1", "--kl-weight"),
        ("--novel-share -1", "--novel-share -1.0: 0 or more is needed"),
        ("--setting standard --novel-share 5", "--novel-share is for tasks of novel and base queries"),
        ("--ways 1", "--ways 1"),
        ("--guide mean-field --fit-steps 0", "--fit-steps 0"),
        (
            "--setting standard --guide gidaris-attention --features {tmp}/good.npz --ways 8",
            "has 8 classes, fewer than the 8 of a task and a base class",
        ),
        ("--train-ways 4", "--synthetic-gradient mlp serves one number of classes; choose one of equivariant"),
        ("--train-ways 4 --guide maml --initializer global", "--initializer global serves one number of classes"),
        ("--train-ways 1 --guide init-only", "--train-ways 1: 2 or more"),
        ("--image-size 4", "--image-size 4"),
        ("--device tpu", "unknown device 'tpu'"),
        ("--features {tmp}/none.npz", "none.npz"),
        ("--features {tmp}/nan.npz", "train_x"),
        ("--features {tmp}/short.npz", "train_y"),
        ("--features {tmp}/html.npz", "html.npz"),
        ("--features {tmp}/good.npz --ways 9", "has 8 classes, fewer than the 9 of a task"),
        ("--features {tmp}/good.npz --shots 20", "needs 35"),
        ("--features {tmp}/notest.npz --split test", "no test data"),
        ("--features {tmp}/good.npz --split test --hold-out-classes 5", "leave --split test out"),
        ("--features {tmp}/good.npz --hold-out-classes 7", "of which 2 to 6 can be held out"),
        ("--features {tmp}/good.npz --tune-features", "--tune-features needs images"),
        ("--features {tmp}/good.npz --out {tmp}/good.npz", "is a file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, options, says):
    write_features(tmp_path / "good.npz")
    nan = np.zeros((192, 12), dtype=np.float32)
    nan[3, 4] = np.nan
    write_features(tmp_path / "nan.npz", train_x=nan)
    write_features(tmp_path / "short.npz", train_y=np.zeros(5, dtype=np.int64))
    write_features(tmp_path / "notest.npz", test_x=None, test_y=None)
    (tmp_path / "html.npz").write_text("<!DOCTYPE html><html></html>")
    options = ["--setting", "lwof", "--out", str(tmp_path / "out"), *options.format(tmp=tmp_path).split()]
    if options.count("--out") == 2:
        del options[2:4]
    code, stderr = _main(monkeypatch, capsys, *options, "--cache-dir", str(tmp_path / "cache"))
    assert code == 2
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert says in stderr


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("missing", "no such file"),
        ("truncated", "train00000.jpg"),
        ("overlap", "train0"),
        ("few", "needs 16"),
        ("pickle-html", "mini-imagenet-cache-train.pkl"),
        ("pickle-malicious", "refuses"),
    ],
)
def test_bad_images_are_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, damage, says):
    root = _csv_images(tmp_path / "data")
    first = root / "images" / "train00000.jpg"
    if damage == "missing":
        first.unlink()
    elif damage == "truncated":
        first.write_bytes(first.read_bytes()[:-200])
    elif damage == "overlap":
        (root / "val.csv").write_text((root / "val.csv").read_text().replace(",val0", ",train0"))
    elif damage.startswith("pickle"):
        for path in root.glob("*.csv"):
            path.unlink()
        content = (
            b"<html>404</html>"
            if damage == "pickle-html"
            else b"cos\nsystem\n(S'touch %s'\ntR." % bytes(tmp_path / "executed")
        )
        for split in ("train", "val"):
            (root / f"mini-imagenet-cache-{split}.pkl").write_bytes(content)
    options = f"--setting standard --data folders --data-root {root} --image-size 20 --out {tmp_path}/out"
    code, stderr = _main(monkeypatch, capsys, *options.split(), "--cache-dir", str(tmp_path / "cache"))
    assert code == 2
    assert stderr.count("\n") == 1
    assert says in stderr
    assert not (tmp_path / "executed").exists()


def test_help_is_readable():
    environment = {**os.environ, "COLUMNS": "100"}
    command = [sys.executable, "-m", "experiments.run", "--help"]
    text = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    for option in ("--setting {None,standard,lwof}", "--kl-weight", "--features", "--split", "--device", "--out"):
        assert option in text
    assert "synthetic image world" in text


def test_stages_are_timed():
    reporter = Reporter()
    with reporter.stage("one", "one") as advance:
        advance(1, 2)
    assert reporter.seconds["one"] >= 0
