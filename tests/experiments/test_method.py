"""One definition of a method: every table keeps apart what differs in a setting, and averages what does not."""

import contextlib
import json
from dataclasses import fields

import pytest

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.row import read_rows
from pyro_sib.experiments.comparison.sweep_table import sweep
from pyro_sib.experiments.comparison.table import labels, markdown, table_rows
from pyro_sib.experiments.job.method import METHOD, NOT_METHOD, identity
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.report import report
from tests.experiments.records import scored, write

PLAIN = RunSettings(setting="lwof", iterations=100).resolved()
OTHERS = {
    "guide": "maml",
    "initializer": "both",
    "synthetic_gradient": "equivariant",
    "prior": "isotropic",
    "steps": 5,
    "kl_weight": 0.01,
    "support_gradient": True,
    "propagation": 0.5,
    "train_query_balance": "dirichlet:2",
    "train_images": "held-out",
    "train_ways": 7,
    "iterations": 200,
    "batch_size": 4,
    "learning_rate": 0.1,
    "pretrain_epochs": 3,
    "pretrain_batch_size": 32,
    "pretrain_learning_rate": 0.01,
    "pretrain_schedule": "step",
    "tune_features": True,
    "step_size": 0.5,
    "learn_step_size": False,
    "step_samples": 3,
    "fit_steps": 7,
    "initial_scale": 0.5,
    "predictor_scale": 5.0,
    "coordinates": 20,
    "power": 0.7,
    "kl_step": "explicit",
    "psi_from_base": False,
    "epochs": 3,
    "schedule": "step",
    "objective": "mean-field",
    "particles": 2,
    "select_tasks": 7,
    "select_by": "log-likelihood",
    "draws": 3,
    "pretrain_weight_decay": 1e-3,
    "pretrain_label_smoothing": 0.1,
    "pretrain_mixup": 0.2,
    "pretrain_colour": 0.4,
    "pretrain_crop": 0.5,
    "pretrain_rotation": 1.0,
    "pretrain_averaging": 0.9,
    "pretrain_head_scale": 20.0,
    "pretrain_seed": 1,
    "precision": "bfloat16",
    "flip_features": True,
}
"""Another value of every setting that makes another method: a new setting is to be decided on here."""


def written(folder, seed, mean, **changes):
    """A run's folder with four tasks around `mean`."""
    settings = {f.name: getattr(PLAIN, f.name) for f in fields(RunSettings)}
    skip = ("data", "features", "data_root", "compare", "out", "cache_dir", "device", "threads", "posterior_tasks")
    settings = {name: value for name, value in settings.items() if name not in skip}
    of_all = scored(mean, 1.0, ("novel", "base", "both"))
    plain = settings | of_all | {"split": "test", "tasks": 4, "at_the_mean": of_all, "seed": seed}
    write(folder, **(plain | changes))
    names = ["posterior", *([f"posterior {changes['second']['query_balance']}"] if changes.get("second") else [])]
    rows = [f"{name},{t},{mean + t},{mean + t},{mean + t},1,0.5" for name in names for t in range(4)]
    (folder / "tasks.csv").write_text("\n".join(["prediction,task,novel,base,both,nll,brier", *rows]) + "\n")
    return folder


def second(balance):
    """Further tasks of that balance."""
    return scored(50.0, 1.0, ("novel", "base", "both"), query_balance=balance)


def test_every_setting_of_a_run_is_decided_on():
    """Whoever adds one says in NOT_METHOD why it makes no other method, or here what another value of it is."""
    names = {f.name for f in fields(RunSettings)}
    assert set(METHOD) | NOT_METHOD.keys() == names
    assert not set(METHOD) & NOT_METHOD.keys()
    assert OTHERS.keys() == set(METHOD)


@pytest.mark.parametrize("name", METHOD)
def test_runs_that_differ_in_one_setting_are_methods_of_their_own(tmp_path, name):
    written(tmp_path / "a", 0, 50.0)
    written(tmp_path / "b", 1, 10.0, **{name: OTHERS[name]})
    rows = read_rows([tmp_path])
    assert identity(rows[0].method) != identity(rows[1].method)
    assert [row.metrics["both"].mean for row in rows] == [51.5, 11.5]
    assert all(row.seeds in ((0,), (1,)) for row in rows)
    assert len(set(labels(rows))) == 2
    assert "2 seeds" not in markdown(rows)
    records = table_rows(rows)
    assert str(records[0][name]) != str(records[1][name])
    text = report([tmp_path])
    assert "2 seeds" not in text
    lines = [line.split("|")[1].strip() for line in text.splitlines() if " 50.00 ± 1.00" in line]
    lines += [line.split("|")[1].strip() for line in text.splitlines() if " 10.00 ± 1.00" in line]
    assert len(set(lines)) == 2
    table = [line for line in sweep([tmp_path]).splitlines() if "± 1.00" in line]
    assert len({line.split("±")[0].rsplit("|", 1)[0] for line in table}) == 2, table


@pytest.mark.parametrize("changes", [{}, {"commit": "f" * 12, "elbo": -2.0, "base_accuracy": 3.0}])
def test_seeds_are_averaged(tmp_path, changes):
    written(tmp_path / "a", 0, 50.0)
    written(tmp_path / "b", 1, 52.0, **changes)
    (row,) = read_rows([tmp_path])
    assert (row.seeds, row.metrics["both"].mean) == ((0, 1), 52.5)
    assert "51.00 ± 1.41 (2 seeds)" in report([tmp_path])


def test_a_seed_run_again_is_one_seed(tmp_path):
    for name, mean in (("a", 50.0), ("again", 52.0)):
        written(tmp_path / name, 0, mean)
    (row,) = read_rows([tmp_path])
    assert (row.seeds, row.spread) == ((0,), None)
    assert row.metrics["both"].mean == 52.5
    written(tmp_path / "b", 1, 57.0)
    (row,) = read_rows([tmp_path])
    assert row.metrics["both"].mean == (52.5 + 58.5) / 2
    assert row.spread["both"] == pytest.approx(2**0.5 * 3)


def test_an_older_result_has_the_default_of_what_it_does_not_mention(tmp_path):
    old = written(tmp_path / "old", 1, 52.0)
    result = json.loads((old / "result.json").read_text())
    for name in ("kl_step", "psi_from_base", "train_query_balance", "propagation"):
        del result[name]
    (old / "result.json").write_text(json.dumps(result))
    written(tmp_path / "a", 0, 50.0)
    assert len(read_rows([tmp_path])) == 1
    assert "(2 seeds)" in report([tmp_path])


def test_a_setting_of_a_newer_version_counts(tmp_path):
    written(tmp_path / "a", 0, 50.0)
    written(tmp_path / "b", 1, 10.0, colour="red")
    assert sorted(labels(read_rows([tmp_path]))) == ["sib", "sib, colour red"]
    assert "2 seeds" not in report([tmp_path])


def test_further_tasks_of_another_balance_are_not_paired(tmp_path):
    for name, balance, guide in (("a", "dirichlet:1", "sib"), ("b", "dirichlet:2", "maml")):
        written(tmp_path / name, 0, 50.0, guide=guide, second=second(balance))
    with pytest.raises(InputError, match=r"other tasks or features \(second_balance\)"):
        read_rows([tmp_path])
    written(tmp_path / "c" / "one", 0, 50.0, second=second("dirichlet:1"))
    written(tmp_path / "c" / "two", 1, 50.0)
    (row,) = read_rows([tmp_path / "c"])
    assert row.second is None


def test_comparators_and_blends_are_told_apart_by_what_they_were_set_to(tmp_path):
    bare = dict.fromkeys(METHOD) | {"steps": 0}
    tim = bare | {"guide": "tim", "chosen": {"tasks": 100, "tried": []}}
    written(tmp_path / "a", 0, 50.0, **tim, settings={"temperature": 5.0})
    written(tmp_path / "b", 0, 10.0, **tim, settings={"temperature": 10.0})
    gate = {"kind": "LogisticGate", "false_alarms": None, "slope": 1.0}
    written(tmp_path / "c", 0, 30.0, **bare | {"guide": "blend", "fit_tasks": 9, "gate": gate})
    written(
        tmp_path / "d", 0, 20.0, **bare | {"guide": "blend", "fit_tasks": 9, "gate": gate | {"false_alarms": 0.1}}
    )
    assert len(set(labels(read_rows([tmp_path])))) == 4
    names = [line.split("|")[1].strip() for line in report([tmp_path]).splitlines() if "± 1.00" in line]
    assert len(set(names)) == len(names) == 4
    assert all(row["guide"] in ("tim", "blend") for row in table_rows(read_rows([tmp_path])))


def test_tables_hold_names_with_bars_and_new_lines(tmp_path):
    written(tmp_path / "a", 0, 50.0)
    written(tmp_path / "b", 0, 10.0, guide='a|b\nc,"=1+1')
    text = markdown(read_rows([tmp_path]))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    assert len({len(line) for line in rows}) == 1
    records = table_rows(read_rows([tmp_path]))
    assert len(records) == 2


def test_the_cross_of_guides_and_priors_mixes_nothing_else(tmp_path):
    """A line is a guide with its settings; the KL's weight, whose default goes with the prior, is in the cell."""
    for n, guide in enumerate(("sib", "maml")):
        for m, prior in enumerate(("diagonal", "isotropic")):
            for step in ("explicit", "implicit"):
                folder = tmp_path / f"{guide}-{prior}-{step}"
                written(folder, 0, 10.0 * n + m, guide=guide, prior=prior, kl_step=step, kl_weight=float(m))
    (table,) = markdown(read_rows([tmp_path])).split("guides and priors:\n\n")[1:]
    lines = [[c.strip() for c in line.strip("|").split("|")] for line in table.splitlines()[2:6]]
    assert {line[0] for line in lines} == {
        f"{g}, kl step {s}" for g in ("sib", "maml") for s in ("explicit", "implicit")
    }
    assert all("(kl 0.0)" in line[1] and "(kl 1.0)" in line[2] for line in lines)


def test_the_sweep_passes_over_what_has_no_posterior(tmp_path):
    written(tmp_path / "a", 0, 50.0)
    written(tmp_path / "baseline", 0, 50.0, guide="prototypical", scales=None, elbo=None, elbo_parts=None)
    written(tmp_path / "oracle", 0, 90.0, guide="exact-gradient", oracle=True)
    written(
        tmp_path / "tim",
        0,
        50.0,
        **dict.fromkeys(METHOD) | {"guide": "tim", "steps": 0},
        scales=None,
        elbo_parts=None,
    )
    written(tmp_path / "old", 0, 50.0, at_the_mean=[])
    text = sweep([tmp_path])
    assert sum("± 1.00" in line for line in text.splitlines()) == 2
    assert "guide exact-gradient" in text
    for name in ("baseline", "tim", "old"):
        assert f"left out: {tmp_path}/{name}/result.json" in text
    with pytest.raises(InputError, match="no result of a run with a posterior"):
        sweep([tmp_path / "baseline"])


@pytest.mark.parametrize("damage", ["cut", "list", "null", "text", "nested", "bytes", "folder"])
@pytest.mark.parametrize("of", ["result.json", "tasks.csv"])
def test_a_damaged_result_is_one_line(tmp_path, damage, of):
    """Whatever reads somebody's result says which file, and what to do."""
    path = written(tmp_path / "a", 0, 50.0) / of
    content = path.read_bytes()
    path.unlink()
    junk = {"list": b"[1]", "null": b"null", "text": b"<html>", "bytes": b"\xff\x00\xfe", "nested": b"[" * 100_000}
    path.mkdir() if damage == "folder" else path.write_bytes(junk.get(damage, content[: len(content) // 2]))
    for table in (read_rows, *((report, sweep) if of == "result.json" else ())):
        with pytest.raises(InputError) as caught:
            table([tmp_path])
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


ENTRIES = ("metrics", "calibration", "seconds", "second", "guide", "seed", "ways", "at_the_mean", "scales", "data")


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("value", [None, [], "x", {"novel": 3}, {"a": {}}, 1.5])
def test_an_entry_of_another_type_is_no_traceback(tmp_path, name, value):
    path = written(tmp_path / "a", 0, 50.0) / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    for table in (read_rows, report, sweep):
        with contextlib.suppress(InputError):
            table([tmp_path])
