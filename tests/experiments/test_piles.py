"""Piles measured: the tasks, the curve's arithmetic, the commands and what they leave."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.example_pictures import ExampleSettings
from pyro_sib.experiments.other_domains.grid import Form
from pyro_sib.experiments.other_domains.tasks import Known
from pyro_sib.experiments.other_domains.train_unknown import train_unknown
from pyro_sib.experiments.own_pictures.example import paint_example
from pyro_sib.experiments.piles import PilesSettings
from pyro_sib.experiments.piles_grid import methods
from pyro_sib.experiments.piles_grid.curve import needed
from pyro_sib.experiments.piles_grid.methods import TRANSDUCTIVE, make_methods
from pyro_sib.experiments.piles_grid.piles import measure_piles, read_numbers
from pyro_sib.experiments.piles_grid.record import resumed
from pyro_sib.experiments.piles_grid.tasks import PileDrawer, PileForm
from pyro_sib.experiments.train_unknown import TrainUnknownSettings
from pyro_sib.inference.unknown.unknown_class import FIRST
from tests.experiments.test_train_any import pictures
from tests.worlds import clusters

SPLIT = clusters(6, 20, seed=2)


@pytest.mark.parametrize(
    "form",
    [
        PileForm(Form(4, "2", "even"), 12),
        PileForm(Form(4, "unequal", "dirichlet:2"), 20, 0.25),
        PileForm(Form(6, "15", "even"), 600),
    ],
    ids=PileForm.words,
)
def test_a_pile_is_as_large_and_as_strange_as_asked_for(form):
    for index in range(6):
        known, labels = PileDrawer.of(SPLIT, "f", form, 0).draw(index)
        again, same = PileDrawer.of(SPLIT, "f", form, 0).draw(index)
        assert torch.equal(known.queries, again.queries)
        assert torch.equal(labels, same)
        rows = torch.cat([*known.support, known.queries])
        assert len(rows.unique(dim=0)) == len(rows), "no picture twice"
        assert int((labels < 0).sum()) == round(form.unknown * form.pile)
        assert len(labels) == min(form.pile, 6 * 5 if form.pile == 600 else form.pile)
        classes = [int(SPLIT.y[(SPLIT.x == one[0]).all(-1)]) for one in known.support]
        for row, label in zip(known.queries, labels.tolist(), strict=True):
            of = int(SPLIT.y[(SPLIT.x == row).all(-1)])
            assert of == classes[label] if label >= 0 else of not in classes


def test_labels_that_are_needed_lie_between_the_points_of_the_curve():
    curve, labels = [50.0, 60.0, 60.0, 80.0], (0, 10, 20, 30)
    assert [needed(curve, labels, goal) for goal in (40, 50, 55, 60, 70, 80)] == [0, 0, 5, 10, 25, 30]
    assert needed(curve, labels, 81) is None


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    root = tmp_path_factory.mktemp("piles")
    np.savez(root / "made.npz", x=SPLIT.x.numpy(), y=SPLIT.y.numpy())
    settings = PilesSettings(
        features=(root / "made.npz",),
        methods=("class-means",),
        ways=6,
        open_ways=4,
        shots=("3",),
        piles=(20,),
        balances=("even",),
        tasks=2,
        set_tasks=2,
        curve_tasks=2,
        draws=2,
        device="cpu",
        out=root / "out",
    )
    return settings, measure_piles(settings)


def test_cells_and_a_curve_are_measured_and_told(measured):
    settings, record = measured
    closed, opened = record.cells
    assert [row.method for row in closed.rows][1:] == ["class-means"]
    assert (closed.unknown, opened.unknown, opened.ways) == (0.0, 0.25, 4)
    assert closed.rows[0].auroc is None
    assert closed.flagged is None
    assert closed.sets is not None
    assert 0 < closed.sets.size <= 6
    assert opened.rows[0].auroc is not None
    assert opened.rows[0].auroc.mean > 60
    assert opened.sets is None
    curve = record.curves[0]
    assert set(curve.accuracy) == {"most telling", "random", "entropy"}
    assert all(len(each) == len(curve.labels) == 7 for each in curve.accuracy.values())
    starts = {each[0].mean for each in curve.accuracy.values()}
    assert len(starts) == 1, "before any is asked for, all are one"
    of = {name: [one.mean for one in each] for name, each in curve.accuracy.items()}
    gained = [ours - theirs for ours, theirs in zip(of["most telling"], of["random"], strict=True)]
    assert [one.mean for one in curve.gain] == pytest.approx(gained, abs=1e-4)
    text = (settings.out / "piles.md").read_text()
    assert all(word in text for word in ("coverage", "AUROC", "labels asked for", "Flagged"))


def test_what_is_measured_is_not_measured_again(measured, monkeypatch):
    settings, record = measured
    monkeypatch.setattr("pyro_sib.experiments.piles_grid.piles.measure_cell", None)
    monkeypatch.setattr("pyro_sib.experiments.piles_grid.piles.measure_curve", None)
    assert measure_piles(settings) == record
    with pytest.raises(InputError, match=r"other measurements \(tasks differ\)"):
        measure_piles(replace(settings, tasks=3))
    raw = json.loads((settings.out / "piles.json").read_text())
    assert resumed(settings.out / "piles.json", raw["of"], {}) == record


def test_the_curve_alone_is_what_the_whole_goes_on_from(measured, tmp_path, monkeypatch):
    settings, record = measured
    with monkeypatch.context() as patched:
        patched.setattr("pyro_sib.experiments.piles_grid.piles.measure_cell", None)
        alone = measure_piles(replace(settings, out=tmp_path, curve_alone=True, open_ways=6))
    assert alone.cells == ()
    assert alone.curves == record.curves
    assert "labels asked for" in (tmp_path / "piles.md").read_text()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"methods": ("nobody",)}, "there is no nobody; choose of class-means"),
        ({"features": ()}, "--domains and --features are both missing"),
        ({"learner": "mini-imagenet-c128f-1shot"}, "serves tasks of one size"),
        ({"open_ways": 6}, "--open-ways 6: made has 6 classes, so none is left"),
        ({"tasks": 0}, "--tasks 0"),
        ({"curve_alone": True, "curve_tasks": 0}, "--curve-alone with --curve-tasks 0 leaves nothing"),
    ],
)
def test_what_cannot_be_measured_is_refused(measured, tmp_path, change, says):
    settings, _ = measured
    with pytest.raises(InputError, match=re.escape(says)):
        measure_piles(replace(settings, out=tmp_path, **change))


def test_methods_of_easyfsl_serve_piles():
    pytest.importorskip("easyfsl")
    known, _ = PileDrawer.of(clusters(4, 20, seed=3, features=12), "f", PileForm(Form(3, "2", "even"), 9), 0).draw(
        0
    )
    for name, method in make_methods(tuple(TRANSDUCTIVE), 0.5).items():
        found = method(known)
        assert found.shape == (9, 3), name
        torch.testing.assert_close(found.sum(1), torch.ones(9))


def test_methods_see_features_as_the_learner_does(monkeypatch):
    known = Known((torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 9.0]])), torch.tensor([[1.0, 4.0]]), 3)
    spies = {name: lambda: lambda task: task.queries for name in ("class-means", "soft-k-means")}
    monkeypatch.setattr(methods, "METHODS", spies)
    monkeypatch.setattr(methods, "_transductive", lambda name: lambda task: task.queries)
    for power, seen in ((0.5, [[1.0, 2.0]]), (1.0, [[1.0, 4.0]])):
        found = {
            name: method(known).tolist() for name, method in make_methods((*spies, *TRANSDUCTIVE), power).items()
        }
        assert found.pop("pt-map") == [[1.0, 4.0]], "it has a power of its own"
        assert list(found.values()) == [seen] * 4


def test_the_numbers_of_no_class_are_fitted_from_pictures(tmp_path):
    pictures(tmp_path / "near", classes=4, count=14)
    settings = TrainUnknownSettings(
        domains=(tmp_path / "near",),
        network="mini-imagenet-c64f",
        iterations=2,
        device="cpu",
        cache_dir=tmp_path / "cache",
        out=tmp_path / "out",
    )
    path = train_unknown(settings)
    numbers = read_numbers(path)
    assert set(numbers) == set(FIRST)
    assert json.loads(path.read_text())["domains"] == ["near"]
    path.write_text('{"numbers": {"sharpness": 1}}')
    with pytest.raises(InputError, match="does not hold the numbers that train_unknown writes"):
        read_numbers(path)
    with pytest.raises(InputError, match="--domains, --made and --known are all missing"):
        TrainUnknownSettings().check()


def test_the_example_is_painted_into_the_folders_that_classify_reads(tmp_path):
    settings = ExampleSettings(out=tmp_path / "e", labeled=2, pile=7, strange=3, image_size=16)
    settings.check()
    paint_example(settings)
    kinds = sorted(folder.name for folder in (settings.out / "labeled").iterdir())
    assert kinds == ["ash", "birch", "cedar", "elm", "fir"]
    assert all(len(list((settings.out / "labeled" / kind).glob("*.png"))) == 2 for kind in kinds)
    assert len(list((settings.out / "pile").glob("*.png"))) == 10
    with pytest.raises(InputError, match="is there and not empty"):
        settings.check()
