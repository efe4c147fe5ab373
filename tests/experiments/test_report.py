import json
import statistics
import sys
from dataclasses import fields

import pytest

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.report import main, paper_rows, report
from tests.experiments.records import record, write, zero

LWOF = {
    "setting": "lwof",
    "prior": "mixture",
    "metrics": {
        "novel": {"mean": 56.1, "ci95": 0.51},
        "base": {"mean": 61.2, "ci95": 0.32},
        "both": {"mean": 44.3, "ci95": 0.23},
    },
}


def novel(mean: float, ci95: float = 0.4) -> dict:
    return {"novel": {"mean": mean, "ci95": ci95}}


def rows(markdown: str, label: str) -> list[list[str]]:
    """Cells of each row of that name."""
    split = [[c.strip() for c in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    return [cells[1:] for cells in split if cells[0] == label]


def row(markdown: str, label: str) -> list[str]:
    (cells,) = rows(markdown, label)
    return cells


def test_ours_and_the_papers_figures_stand_below_each_other(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", shots=5, metrics=novel(70.25, 0.3))
    text = report([tmp_path])
    assert "laid out as the paper's Table 1" in text
    assert row(text, "Method") == [
        *(f"5-way-{s}-shot {metric}" for s in (5, 1) for metric in ("Novel", "Base", "Both")),
        "Iterations",
    ]
    assert row(text, "SIB K=3") == ["70.25 ± 0.30", "-", "-", "55.20 ± 0.41", "-", "-", "9000"]
    assert row(text, "*SIB K=3, paper, C128F*") == ["*77.53 ± 0.35*", "-", "-", "*65.14 ± 0.54*", "-", "-", ""]
    assert "other images of the base classes" in text
    assert rows(text, "*Prototypical networks*") == []
    assert rows(text, "**LwoF few-shot classification**") == []


def test_lwof_has_three_metrics_in_their_columns(tmp_path):
    write(tmp_path / "a", split="test", **LWOF)
    text = report([tmp_path])
    assert "paper's Table 2" in text
    assert row(text, "SIB K=3") == ["-", "-", "-", "56.10 ± 0.51", "61.20 ± 0.32", "44.30 ± 0.23", "9000"]
    assert row(text, "*SIB K=3, paper, C128F*")[3:] == ["*62.02 ± 0.93*", "*69.45*", "*53.52*", ""]


def test_all_rows_of_the_paper(tmp_path):
    write(tmp_path / "a", split="test")
    text = report([tmp_path], all_rows=True)
    assert row(text, "*MAML*") == ["*63.10 ± 0.92*", "-", "-", "*48.70 ± 1.84*", "-", "-", ""]
    assert row(text, "*Gidaris & Komodakis*")[1:3] == ["*70.90*", "*59.35*"]
    assert row(text, "*SIB K=3 WRN-28-10, paper*")[3] == "*67.92 ± 0.55*"
    assert [len(rows(text, f"*SIB K={k}, paper, C128F*")) for k in (0, 1, 3, 5)] == [2] * 4
    cells = [c for line in text.splitlines() if line.startswith("| *") for c in line.split("|")[2:-1]]
    assert sum(c.strip().startswith("*") for c in cells) == len(paper_rows("test"))


def test_seeds_are_averaged_by_hand(tmp_path):
    means = [50.0, 51.0, 53.5]
    for seed, mean in enumerate(means):
        write(tmp_path / f"seed{seed}", seed=seed, metrics=novel(mean))
    text = report([tmp_path])
    assert statistics.fmean(means) == 51.5
    assert round(statistics.stdev(means), 2) == 1.80  # sqrt((2.25 + 0.25 + 4) / 2)
    assert row(text, "SIB K=3")[3] == "51.50 ± 1.80 (3 seeds)"
    assert "seeds 0, 1, 2" in text


def test_a_run_named_twice_counts_once(tmp_path):
    write(tmp_path / "a")
    assert row(report([tmp_path, tmp_path / "a"]), "SIB K=3")[3] == "55.20 ± 0.41"


def test_a_seed_run_twice_is_one_seed_and_said(tmp_path):
    write(tmp_path / "a", metrics=novel(50.0))
    write(tmp_path / "b", metrics=novel(52.0))
    write(tmp_path / "c", seed=1, metrics=novel(53.0))
    text = report([tmp_path])
    assert row(text, "SIB K=3")[3] == "52.00 ± 1.41 (2 seeds)"
    assert "seed 0 was run 2 times" in text


@pytest.mark.parametrize(
    ("name", "value", "label"),
    [
        ("guide", "other", "other K=3, guide other"),
        ("prior", "isotropic", "SIB K=3, prior isotropic"),
        ("kl_weight", 0.01, "SIB K=3, kl_weight 0.01"),
        ("iterations", 100, "SIB K=3, iterations 100"),
        ("tasks", 100, "SIB K=3, tasks 100"),
        ("synthetic_gradient", "equivariant", "SIB K=3, synthetic_gradient equivariant"),
    ],
)
def test_methods_are_never_mixed(tmp_path, name, value, label):
    write(tmp_path / "a", **({"synthetic_gradient": "mlp"} if name == "synthetic_gradient" else {}))
    write(tmp_path / "b", **{name: value}, seed=1, metrics=novel(10.0))
    text = report([tmp_path])
    assert row(text, label)[3] == "10.00 ± 0.40"
    assert "55.20 ± 0.41" in text
    assert "2 seeds" not in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("split", "test"),
        ("backbone", "c128f"),
        ("data__image_size", 84),
        ("data__name", "synthetic"),
        ("data__fingerprint", "fedcba98ffff"),
        ("data__base_holdout", "the authors' pickles"),
        ("network", "another.safetensors"),
        ("network_digest", "0123456789abcdef"),
    ],
)
def test_data_and_features_have_tables_of_their_own(tmp_path, name, value):
    write(tmp_path / "a")
    write(tmp_path / "b", **{name: value}, seed=1, metrics=novel(10.0))
    text = report([tmp_path])
    assert text.count("\n| Method") == 2
    assert sorted(cells[3] for cells in rows(text, "SIB K=3")) == ["10.00 ± 0.40", "55.20 ± 0.41"]


def test_validation_comes_before_test(tmp_path):
    write(tmp_path / "a", split="test")
    write(tmp_path / "b")
    text = report([tmp_path])
    assert text.index("Table 1") < text.index("Table 2")


def test_the_zero_trained_beside_serves_where_none_stands_alone(tmp_path):
    write(tmp_path / "a", comparison=zero(49.5, 0.35))
    text = report([tmp_path])
    assert row(text, "SIB K=0")[3] == "49.50 ± 0.35"
    assert "SIB K=0, standard 5-way-1-shot: trained beside K=3" in text
    assert row(text, "SIB K=3")[3] == "55.20 ± 0.41"
    write(tmp_path / "b", steps=0, guide="init-only", metrics=novel(48.0))
    text = report([tmp_path])
    assert row(text, "SIB K=0")[3] == "48.00 ± 0.40"
    assert "49.50" not in text


def test_a_guide_without_steps_is_a_method_of_its_own(tmp_path):
    write(tmp_path / "a", comparison=zero(49.5, 0.35))
    write(tmp_path / "b", guide="neural-process", steps=0, metrics=novel(45.0, 0.40))
    text = report([tmp_path])
    assert row(text, "SIB K=0, guide init-only")[3] == "49.50 ± 0.35"
    assert row(text, "neural-process K=0, guide neural-process")[3] == "45.00 ± 0.40"


def test_a_zero_of_another_configuration_does_not_replace_the_one_beside(tmp_path):
    write(tmp_path / "a", comparison=zero(49.5), kl_weight=0.1)
    write(tmp_path / "b", steps=0, metrics=novel(48.0))
    text = report([tmp_path])
    assert row(text, "SIB K=0, kl_weight 0.1")[3] == "49.50 ± 0.40"
    assert row(text, "SIB K=0, kl_weight 0")[3] == "48.00 ± 0.40"


def test_zeros_that_differ_in_the_guide_alone_are_told_apart(tmp_path):
    write(tmp_path / "a", steps=0, metrics=novel(48.0))
    write(tmp_path / "b", steps=0, guide="init-only", metrics=novel(49.0))
    text = report([tmp_path])
    assert row(text, "SIB K=0, guide sib")[3] == "48.00 ± 0.40"
    assert row(text, "SIB K=0, guide init-only")[3] == "49.00 ± 0.40"


def test_other_sizes_get_a_plain_table(tmp_path):
    write(tmp_path / "a", ways=20, shots=1)
    write(tmp_path / "b", shots=10, metrics=novel(80.0))
    text = report([tmp_path])
    assert "Other task sizes" in text
    assert rows(text, "SIB K=3") == [
        ["5-way-10-shot", "80.00 ± 0.40", "-", "-", "9000"],
        ["20-way-1-shot", "55.20 ± 0.41", "-", "-", "9000"],
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"data__name": "synthetic"},
        {"data__name": "folders"},
        {"data__base_holdout": "last sixth of each base class; 16 base classes held out as val"},
    ],
)
def test_other_data_stand_without_the_papers_figures_unless_asked(tmp_path, data):
    write(tmp_path / "a", **data)
    assert rows(report([tmp_path]), "*SIB K=3, paper, C128F*") == []
    assert "--all-rows adds them" in report([tmp_path])
    standard, lwof = rows(report([tmp_path], all_rows=True), "*SIB K=3, paper, C128F*")
    assert (standard[3], lwof[3]) == ("*65.14 ± 0.54*", "*63.92 ± 0.54*")


def test_notes_say_what_was_run(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", seed=1, commit="9876543210fed-dirty", **LWOF)
    notes = [line for line in report([tmp_path]).splitlines() if line.startswith("- ")]
    assert notes[0] == "- data: mini-imagenet, fingerprint 01234567; base classes: last 100 images of each class"
    assert notes[1] == "- features: C64F, 42 px"
    method = "kl_weight 0, iterations 9000, tasks 2000, queries 15"
    assert notes[2] == f"- standard: guide sib, xi mlp, prior diagonal, {method}, seeds 0, commit abcdef0"
    assert notes[3] == f"- lwof: guide sib, xi mlp, prior mixture, {method}, seeds 1, commit 9876543-dirty"


def test_what_a_k_of_zero_has_not_stands_in_no_label_unless_others_differ_in_it(tmp_path):
    write(tmp_path / "zero", steps=0, metrics=novel(50.0))
    write(tmp_path / "one", steps=1, synthetic_gradient="mlp", support_gradient=False)
    write(tmp_path / "three", synthetic_gradient="mlp", support_gradient=False)
    assert row(report([tmp_path]), "SIB K=1")[3] == row(report([tmp_path]), "SIB K=3")[3] == "55.20 ± 0.41"
    write(tmp_path / "other", synthetic_gradient="context", support_gradient=False, metrics=novel(60.0))
    assert row(report([tmp_path]), "SIB K=3, synthetic_gradient context")[3] == "60.00 ± 0.40"
    assert row(report([tmp_path]), "SIB K=0")[3] == "50.00 ± 0.40"


def test_notes_say_which_network_it_was_and_what_chose_the_epoch(tmp_path):
    known = {"network": "net", "network_digest": "0123456789", "base_accuracy": 62.71}
    write(tmp_path / "a", **known, selected_on="validation classes", select_tasks=300)
    write(tmp_path / "b", **known, selected_on="validation classes", select_tasks=300, synthetic_gradient="context")
    text = report([tmp_path])
    network = "C64F, 42 px, net, weights 01234567, 62.7% of held-out images of base classes named rightly"
    assert f"- features: {network}\n" in text
    assert "- standard: guide sib, xi context, mlp, prior" in text
    assert "- best epochs are chosen on 300 other tasks of validation classes\n" in text


def test_features_of_the_user_and_no_commit(tmp_path):
    write(tmp_path / "a", backbone=None, data__image_size=None, commit=None)
    text = report([tmp_path])
    assert "- features: as given" in text
    assert "commit unknown" in text


def test_columns_are_aligned(tmp_path):
    write(tmp_path / "a")
    lines = [line for line in report([tmp_path], True).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1


def test_errors_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for folders, words in (
        ([], "no run given"),
        ([tmp_path / "none"], "none does not exist"),
        ([tmp_path / "file"], "file is a file, not a folder"),
        ([tmp_path / "empty"], "no result.json in"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            report(folders)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [f.name for f in fields(Result) if f.default is f.default_factory])
def test_a_missing_key_is_named(tmp_path, name):
    folder = write(tmp_path / "a")
    result = {k: v for k, v in record().items() if k != name}
    (folder / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=f"a/result.json has no {name}; delete it and run that experiment again"):
        report([folder])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": {"novel": {"mean": 5.0}}}, "has no metrics.novel.ci95"),
        ({"metrics": {"base": {"mean": 5.0, "ci95": 1.0}}}, "has no metrics.novel; "),
        ({"metrics__novel__mean": "high"}, "metrics.novel.mean is 'high', not a number"),
        ({"data": {"name": "x"}}, "has no data.fingerprint"),
        ({"steps": None}, "steps is None, not a whole number"),
        ({"metrics": []}, r"metrics is \[\], not an object"),
        ({"comparison": {"steps": 0}}, "has no comparison.metrics; "),
    ],
)
def test_a_damaged_result_is_named(tmp_path, changes, words):
    with pytest.raises(InputError, match=words):
        report([write(tmp_path / "a", **changes)])


@pytest.mark.parametrize(("text", "words"), [('{"setting": ', "is not valid JSON"), ("[1]", "holds no result")])
def test_a_file_that_is_no_result(tmp_path, text, words):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(InputError, match=words):
        report([tmp_path])


def test_command(tmp_path, monkeypatch, capsys):
    write(tmp_path / "deep" / "a")
    monkeypatch.setattr(sys, "argv", ["report", str(tmp_path), "--all-rows"])
    assert main() == 0
    assert capsys.readouterr().out == report([tmp_path], all_rows=True)


@pytest.mark.parametrize("arguments", [[], ["nowhere"]])
def test_command_with_bad_input(monkeypatch, capsys, arguments):
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    assert main() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
