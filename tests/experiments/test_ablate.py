"""A small grid on small features: every cell once, resumed, paired, drawn."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.ablate import AblateSettings, cells
from pyro_sib.experiments.comparison import ablate as ablate_module
from pyro_sib.experiments.comparison.ablate import ablate
from pyro_sib.experiments.comparison.catalogue import KINDS, catalogue
from pyro_sib.experiments.comparison.row import read_rows
from pyro_sib.experiments.comparison.table import labels
from pyro_sib.experiments.job import run as run_module
from pyro_sib.files import read_json
from tests.experiments.rendering import whole_figures
from tests.experiments.test_run import write_features


@pytest.fixture
def small(tmp_path) -> AblateSettings:
    return _settings(tmp_path)


def _settings(folder: Path) -> AblateSettings:
    return AblateSettings(
        guides="sib,init-only",
        steps="1,2",
        seeds="0,1",
        features=write_features(folder / "features.npz", rows=40),
        ways=3,
        queries=4,
        iterations=6,
        select_tasks=10,
        eval_tasks=20,
        second_balance="dirichlet:2",
        out=folder / "grid",
        cache_dir=folder / "cache",
    )


@pytest.fixture(autouse=True, scope="module")
def _no_pictures_of_runs():
    """Which test_run looks at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "draw_pictures", lambda *args: None)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> AblateSettings:
    """Of a grid that has been run."""
    settings = _settings(tmp_path_factory.mktemp("grid"))
    with whole_figures():
        ablate(settings)
    return settings


def test_rows_are_named_by_what_tells_them_apart(small):
    """How many classes trained on; lambda only where there is one to choose."""
    base = replace(small, seeds="0", steps="1", xis="equivariant", ways=4, second_balance=None)
    ablate(replace(base, guides="sib,init-only,gidaris-attention,prototypical"))
    ablate(replace(base, guides="sib", train_ways=3))
    names = labels(read_rows([small.out]))
    assert sorted(names) == [
        "gidaris-attention, K=0, trained 4-way",
        "init-only, K=0, trained 4-way",
        "prototypical, K=0, trained 4-way",
        "sib, K=1, trained 3-way",
        "sib, K=1, trained 4-way",
    ]


def test_a_grid_trains_as_it_is_told(small):
    """Grids of other batches and learning rates are other methods, and a row says so."""
    base = replace(small, guides="sib", seeds="0", steps="1")
    ablate(base)
    ablate(replace(base, batch_size=2, learning_rate=0.01))
    assert sorted(labels(read_rows([small.out]))) == [
        "sib, batches of 2, learning rate 0.01",
        "sib, batches of 8, learning rate 0.003",
    ]


def test_each_combination_is_one_cell(small):
    grid = cells(replace(small, settings="standard,lwof", shots="1,2", xis="mlp,equivariant"))
    # sib: 2 xi x 2 K; init-only: neither applies.
    assert len(grid) == 2 * 2 * (2 * 2 + 1) * 2
    assert len({cell.out for cell in grid}) == len(grid)


def test_cells_that_differ_in_the_last_digit_are_two(small):
    grid = cells(replace(small, guides="sib", seeds="0", steps="1", propagations="0.1234567,0.12345671,0.5"))
    assert [cell.propagation for cell in grid] == [0.1234567, 0.12345671, 0.5]
    assert grid[2].out.name == "standard-1shot-sib-mlp-support-default-K1-balanced-propagation0.5-seed0"


def test_the_grid_runs_once_and_leaves_table_and_figures(made, capsys):
    assert {p.name for p in made.out.iterdir() if p.is_file()} == {
        "table.md",
        "table.csv",
        "accuracy.png",
        "steps.png",
        "time.png",
    }
    rows = list(csv.DictReader((made.out / "table.csv").read_text().splitlines()))
    assert [(row["guide"], row["steps"], row["seeds"]) for row in rows] == [
        ("sib", "1", "0 1"),
        ("sib", "2", "0 1"),
        ("init-only", "0", "0 1"),
    ]
    first = made.out / "standard-1shot-sib-mlp-support-default-K1-balanced-seed0" / "result.json"
    before = first.stat().st_mtime_ns
    capsys.readouterr()
    ablate(made)
    assert first.stat().st_mtime_ns == before
    assert "is complete" in capsys.readouterr().out


def test_rows_average_seeds_and_pair_tasks(made):
    first, _, last = read_rows([cell.out for cell in cells(made)])
    assert first.difference is None
    results = [read_json(cell.out / "result.json") for cell in cells(made)]
    mean = {
        guide: [r["metrics"]["novel"]["mean"] for r in results if r["guide"] == guide] for guide in ("init-only",)
    }
    assert last.metrics["novel"].mean == pytest.approx(sum(mean["init-only"]) / 2, abs=1e-2)
    assert last.difference.mean == pytest.approx(last.metrics["novel"].mean - first.metrics["novel"].mean, abs=1e-6)
    unpaired = (last.metrics["novel"].ci95 ** 2 + first.metrics["novel"].ci95 ** 2) ** 0.5
    assert last.difference.ci95 < unpaired
    assert last.drop == pytest.approx(last.metrics["novel"].mean - last.second.mean)
    assert torch.isfinite(torch.tensor([first.milliseconds, first.seconds])).all()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"guides": "sib,none"}, "unknown guide 'none'"),
        ({"priors": "diagonal,none"}, "unknown prior 'none'"),
        ({"guides": " , "}, "--guides is empty"),
        ({"steps": "1,two"}, "--steps 1,two"),
        ({"settings": "open"}, "unknown setting 'open'"),
        ({"train_balances": "even"}, "unknown query balance 'even'"),
    ],
)
def test_a_wrong_cell_stops_the_whole_before_the_first(small, monkeypatch, change, says):
    monkeypatch.setattr(ablate_module, "run", lambda *_: pytest.fail("ran"))
    with pytest.raises(InputError, match=says):
        ablate(replace(small, **change))


def test_guides_and_priors_cross_in_one_table(small):
    ablate(
        replace(
            small, steps="1", seeds="0", priors="diagonal,isotropic,fixed-normal", guides="sib,maml,prototypical"
        )
    )
    text = (small.out / "table.md").read_text()
    (table,) = text.split("Novel, guides and priors:\n\n")[1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[:4]]
    assert cells[0] == ["guide", "diagonal", "isotropic", "fixed-normal"]
    assert [row[0] for row in cells[2:]] == ["sib", "maml"]
    for row in read_rows([p for p in small.out.iterdir() if p.is_dir() and "prototypical" not in p.name]):
        line = next(line for line in cells if line[0] == row.method["guide"])
        mean = float(line[cells[0].index(row.method["prior"])].split(" ")[0])
        assert mean == pytest.approx(row.metrics["novel"].mean, abs=0.01)


def test_no_cross_of_one_prior(small):
    ablate(replace(small, steps="1", seeds="0"))
    assert "guides and priors" not in (small.out / "table.md").read_text()


def test_every_part_is_listed_with_a_line():
    text = catalogue()
    for parts in KINDS.values():
        for name in parts:
            line = next(line for line in text.splitlines() if line.split()[:1] == [name])
            assert len(line.split()) > 3, line
    assert "exact-gradient" in text
    assert "oracle" in next(line for line in text.splitlines() if "exact-gradient" in line)
