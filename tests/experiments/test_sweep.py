import json
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_sib.errors import InputError
from pyro_sib.experiments import sweep as sweep_command
from pyro_sib.experiments.comparison.row import read_rows
from pyro_sib.experiments.comparison.sweep_table import HEADER, sweep
from pyro_sib.experiments.job import reproduce as reproduce_module
from pyro_sib.experiments.report import report
from pyro_sib.experiments.reproduce import KL_WEIGHTS, ReproduceSettings, rows
from tests.experiments.records import record, write


def test_rows_are_ordered_by_weight(tmp_path):
    for weight in (1.0, 0.0, 0.01):
        write(tmp_path / str(weight), kl_weight=weight, metrics__novel__mean=50 + weight)
    lines = sweep([tmp_path]).splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0] for row in cells] == ["0", "0.01", "1"]
    assert all(len(row) == len(HEADER) for row in cells)
    assert cells[2][1] == "51.00 ± 0.41"
    assert cells[0][9] == "-301.2"


def _with_tasks(folder, values, **changes):
    write(folder, **changes)
    lines = [f"posterior,{task},{value},,,1,0.5" for task, value in enumerate(values)]
    (folder / "tasks.csv").write_text("\n".join(["prediction,task,novel,base,both,nll,brier", *lines, ""]))


def test_a_weight_is_held_to_none_on_the_same_tasks(tmp_path):
    for shots in (1, 5):
        _with_tasks(tmp_path / f"{shots}-0", [50, 60, 70], kl_weight=0.0, shots=shots)
        _with_tasks(tmp_path / f"{shots}-1", [50 + shots, 61 + shots, 69 + shots], kl_weight=1.0, shots=shots)
    write(tmp_path / "no tasks", kl_weight=2.0, shots=1)
    _with_tasks(tmp_path / "fewer", [50, 60], kl_weight=3.0, shots=1)
    header, _, *lines = sweep([tmp_path]).splitlines()
    assert header.strip("| ").endswith("less kl_weight 0, paired")
    last = {tuple(c.strip() for c in line.split("|")[1:3]): line.split("|")[-2].strip() for line in lines}
    assert last == {
        ("shots 1", "0"): "-",
        ("shots 5", "0"): "-",
        ("shots 1", "1"): "+1.00 ± 1.13",
        ("shots 5", "1"): "+5.00 ± 1.13",
        ("shots 1", "2"): "-",
        ("shots 1", "3"): "-",
    }


def test_the_sweep_is_drawn(tmp_path, monkeypatch, capsys, rendered):
    for shots in (1, 5):
        for weight in (0.0, 0.1, 1.0):
            write(tmp_path / f"{shots}-{weight}", kl_weight=weight, shots=shots)
    picture = tmp_path / "pictures" / "sweep.png"
    monkeypatch.setattr("sys.argv", ["sweep", str(tmp_path), "--picture", str(picture)])
    assert sweep_command.main() == 0
    assert picture.stat().st_size > 10_000
    assert "shots 5" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "says"), [("sweep.txt", "its ending is none of"), ("a/b.png", "is a file")])
def test_a_picture_that_cannot_be_is_said_first(tmp_path, monkeypatch, capsys, name, says):
    write(tmp_path / "run")
    (tmp_path / "a").write_text("")
    monkeypatch.setattr("sys.argv", ["sweep", str(tmp_path / "run"), "--picture", str(tmp_path / name)])
    assert sweep_command.main() == 2
    end = capsys.readouterr()
    assert says in end.err
    assert not end.out


def test_a_result_of_another_version_is_named(tmp_path):
    for version, words in ((99, "version 99, not "), (None, "no version, not ")):
        held = record(version=version)
        (tmp_path / "result.json").write_text(json.dumps({k: v for k, v in held.items() if v is not None}))
        for table in (sweep, report, read_rows):
            with pytest.raises(InputError, match=rf"of another version of this package \({words}\d+\); delete it"):
                table([tmp_path])


def test_reproduce_has_every_row(tmp_path):
    found = rows(ReproduceSettings(out=tmp_path))
    assert len(found) == 2 * 2 * (3 + 3) + 2 * 2 + len(KL_WEIGHTS)
    assert len({row.out for row in found}) == len(found)
    standard = [row for row in found if row.setting == "standard" and row.kl_weight == found[0].kl_weight]
    assert {(row.steps, row.shots) for row in standard} >= {(k, s) for k in (0, 1, 3, 5) for s in (1, 5)}
    with pytest.raises(InputError, match="no row"):
        rows(ReproduceSettings(parts=()))


def test_a_table_is_at_full_size_with_every_seed(tmp_path):
    found = rows(ReproduceSettings(table=2, backbone="wrn-28-10", data_root=tmp_path))
    assert {(row.setting, row.shots, row.steps, row.seed) for row in found} == {
        (setting, shots, steps, seed)
        for setting in ("standard", "lwof")
        for shots in (1, 5)
        for steps in (0, 1, 3, 5)
        for seed in (0, 1, 2)
    }
    full = {(r.image_size, r.pretrain_epochs, r.iterations, r.split, r.backbone) for r in found}
    assert full == {(84, 60, 60_000, "test", "wrn-28-10")}
    assert found[0].out.parent == Path("runs/table-2-wrn-28-10")
    assert found[0].resolved().schedule == "step"


def test_below_the_papers_learner_a_table_has_the_best_one(tmp_path):
    asked = ReproduceSettings(
        table=1, data_root=tmp_path, network="mini-imagenet-c128f", seeded_steps=(3,), best_propagation=0.3
    )
    found = rows(asked)
    paper = [row for row in found if row.synthetic_gradient == "mlp"]
    assert len(paper) == 2 * 2 * (3 + 3)
    assert {row.seed for row in paper if row.steps != 3} == {0}
    best = [row for row in found if row not in paper]
    assert [(r.setting, r.shots, r.seed) for r in best] == [
        (setting, shots, seed) for setting in ("standard", "lwof") for shots in (1, 5) for seed in (0, 1, 2)
    ]
    assert {(r.steps, r.synthetic_gradient, r.propagation) for r in best} == {(3, "context", 0.3)}
    assert len({row.out for row in found}) == len(found)
    assert {row.out.parts[1] for row in found} == {"table-1-mini-imagenet-c128f"}
    other = rows(replace(asked, best_initializer="attention", best_propagation=0.25, parts=("standard", "best")))
    assert {row.setting for row in other} == {"standard"}
    assert not {row.out for row in best} & {row.out for row in other}


def test_every_row_has_the_evaluation_and_the_weight_that_are_asked_for(tmp_path):
    asked = ReproduceSettings(out=tmp_path, eval_tasks=7, select_tasks=5, second_balance="dirichlet:2", kl_weight=2)
    with pytest.raises(InputError, match=r"--train-images held-out: the synthetic .* give --data-root"):
        rows(replace(asked, train_images="held-out"))
    found = rows(replace(asked, train_images="held-out", data_root=tmp_path))
    said = {(r.eval_tasks, r.select_tasks, r.second_balance, r.train_images) for r in found}
    assert said == {(7, 5, "dirichlet:2", "held-out")}
    assert [row.kl_weight for row in found if row.out.parent.name == "kl"] == [*KL_WEIGHTS]
    assert {row.kl_weight for row in found if row.out.parent.name != "kl"} == {2}


def test_a_table_of_what_it_is_not_of_is_refused(tmp_path):
    with pytest.raises(InputError, match="--table 1 is of mini-ImageNet; give --data-root"):
        rows(ReproduceSettings(table=1))
    with pytest.raises(InputError, match="--table 1 is of the val classes; leave --split test out"):
        rows(ReproduceSettings(table=1, data_root=tmp_path, split="test"))
    with pytest.raises(InputError, match="--iterations 0"):
        rows(ReproduceSettings(iterations=0, out=tmp_path))[0].resolved()


def test_a_table_is_run_row_by_row_and_written(tmp_path, monkeypatch):
    seen = []

    def one(settings, reporter):
        seen.append(settings.out.name)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return {}

    written = []
    monkeypatch.setattr(reproduce_module, "run", one)
    monkeypatch.setattr(reproduce_module, "report", lambda folders: written.append(folders) or "the table\n")
    settings = ReproduceSettings(table=1, data_root=tmp_path, out=tmp_path, seeds=(0,), shots=(5,), steps=(0, 3))
    settings = replace(settings, parts=("standard", "lwof"))
    with pytest.raises(KeyboardInterrupt):
        reproduce_module.reproduce(settings)
    assert written == [[tmp_path]] * 2, "of the rows that were done"
    reproduce_module.reproduce(settings)
    assert seen[3:] == [f"{s}-5shot-K{k}-seed0" for s in ("standard", "lwof") for k in (0, 3)]
    assert (tmp_path / "table.md").read_text() == "the table\n"
