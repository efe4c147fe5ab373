"""The command classify, from folders of tiny pictures to its files."""

import csv
import json
import os
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_sib.errors import InputError
from pyro_sib.experiments import classify as command
from pyro_sib.experiments.classify import ClassifySettings
from pyro_sib.experiments.own_pictures import judge as judging
from pyro_sib.experiments.own_pictures import pictures as decoding
from pyro_sib.experiments.own_pictures.classify import classify, command_of
from pyro_sib.inference import GuideSettings
from pyro_sib.inference.learner_file import save_learner
from pyro_sib.scores.calibration import auroc
from tests.inference.test_classifier import learner

COLOURS = {"cat & <dog>": (230, 60, 40), "emu": (40, 200, 60), "fox": (40, 60, 220)}


def picture(path: Path, colour: tuple[int, int, int], seed: int, side: int = 24) -> Path:
    noise = np.random.default_rng(seed).integers(-40, 40, (side, side + seed % 3, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8)).save(path)
    return path


def make_world(root: Path, labeled: int = 3, pile: int = 5) -> None:
    """Class folders and a pile, with what goes wrong in such folders."""
    for number, (name, colour) in enumerate(COLOURS.items()):
        for row in range(labeled):
            picture(root / "labeled" / name / f"{row}.png", colour, 10 * number + row)
        for row in range(pile):
            picture(root / "pile" / f"part {row % 2}" / f"{number}-{row}.png", colour, 100 + 10 * number + row)


@pytest.fixture(scope="module")
def any_learner(tmp_path_factory):
    """One for any number of classes, of pictures of 16 pixels."""
    path = tmp_path_factory.mktemp("learner") / "l.safetensors"
    inside = GuideSettings(steps=1, synthetic_gradient="context", initial_scale=0.2)
    save_learner(path, learner(pictures=True, inside=inside))
    return path


def settings_for(root: Path, any_learner: Path, **changes) -> ClassifySettings:
    where = {"labeled": root / "labeled", "unlabeled": root / "pile", "out": root / "out"}
    kept = {"cache_dir": root / "cache", "learner": str(any_learner), "device": "cpu", "draws": 6, "to_label": 4}
    return ClassifySettings(**where | kept | changes)


@pytest.fixture(scope="module")
def done(tmp_path_factory, any_learner):
    """A run on a world with copies and damage in it, and its folder."""
    root = tmp_path_factory.mktemp("world")
    make_world(root)
    pile, labeled = root / "pile", root / "labeled"
    shutil.copy(labeled / "emu" / "0.png", pile / "same bytes.png")
    Image.open(labeled / "fox" / "1.png").save(pile / "same pixels.bmp")
    shutil.copy(labeled / "emu" / "2.png", labeled / "emu" / "again.png")
    for name in ("emu", "fox"):
        picture(labeled / name / "torn.png", (9, 9, 9), 77)
    (pile / "broken.jpg").write_bytes(b"no picture")
    (pile / "notes.txt").write_text("no picture either")
    (pile / ".hidden.png").write_bytes(b"")
    outcome = classify(settings_for(root, any_learner, links=True, posterior=True))
    return root, outcome


def table(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_predictions_csv_has_every_picture_of_the_pile_once(done):
    root, _ = done
    rows = table(root / "out")
    names = sorted(str(path) for path in (root / "pile").glob("part */*.png"))
    assert sorted(row["path"] for row in rows) == names
    assert list(rows[0])[:3] == ["path", "label", "confidence"]
    assert list(rows[0])[6:] == ["entropy", "mutual_information", "none_of_these", "conformal_set", "flag"]
    for row in rows:
        shares = {name: float(row[f"probability of {name}"]) for name in COLOURS}
        assert sum(shares.values()) == pytest.approx(1, abs=2e-4)
        assert shares[row["label"]] == float(row["confidence"]) == max(shares.values())
        assert float(row["mutual_information"]) <= float(row["entropy"])
        chosen = [name for name in row["conformal_set"].split(" | ") if name in COLOURS]
        assert row["flag"] == ("ask a person" if len(chosen) != 1 or float(row["confidence"]) < 0.5 else "")
    right = sum(list(COLOURS)[int(Path(row["path"]).name[0])] == row["label"] for row in rows)
    assert right == len(rows), "the colours tell them apart, trained or not"


def test_what_is_left_out_is_told(done):
    root, outcome = done
    left = outcome.left
    assert [Path(path).name for path, _ in left.unreadable] == ["broken.jpg"]
    assert sorted(Path(name).name for name in left.known) == ["same bytes.png", "same pixels.bmp"]
    assert [Path(name).name for name in left.repeated] == ["again.png"]
    assert [Path(name).parent.name for name in left.torn] == ["emu", "fox"]
    assert len(outcome.labeled) == 9
    page = (root / "out" / "report.html").read_text()
    assert all(f"{name}</li>" in page for name in left.known)
    assert "broken.jpg is" in page
    assert "notes.txt" in page
    assert ".hidden" not in page


def test_labeled_pictures_are_left_out_in_turn(done):
    _, outcome = done
    checked = outcome.checked
    assert (len(checked.truth), checked.folds, checked.alone) == (9, 9, ())
    assert checked.right >= 8
    assert checked.needed == 9
    assert checked.sets is not None
    own = checked.sets.gather(1, torch.tensor([int(Path(row.name).name[0]) for row in outcome.pile])[:, None])
    assert float(own.double().mean()) >= 0.8


def test_class_shares_have_intervals_around_them(done):
    _, outcome = done
    mean, low, high = outcome.composition
    assert float(mean.sum()) == pytest.approx(1, abs=1e-6)
    assert bool((low <= mean).all())
    assert bool((mean <= high).all())
    np.testing.assert_allclose(mean, outcome.judged.probabilities.mean(0), atol=1e-6)


class Tags(HTMLParser):
    """The elements of a page that are not closed, and what it refers to."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.outside, self.images = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.images += tag == "img"
        self.outside += [v for k, v in attrs if k in ("src", "href") and not v.startswith(("data:", "#"))]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_report_is_one_whole_file(done):
    root, outcome = done
    text = (root / "out" / "report.html").read_text()
    found = Tags(text)
    assert (found.open, found.outside) == ([], [])
    assert "http://" not in text.replace("http-equiv", "")
    assert "https://" not in text
    assert "<dog>" not in text
    assert "cat &amp; &lt;dog&gt;" in text
    asked = int(outcome.ask.sum())
    assert found.images == len(outcome.pile) + asked + len(outcome.next) + len(outcome.labeled)
    assert not set(outcome.next) - set(range(len(outcome.pile)))
    assert len(outcome.next) == 4


def test_the_record_repeats_it(done, tmp_path, monkeypatch):
    root, _ = done
    record = json.loads((root / "out" / "learner.json").read_text())
    assert record["decoration_warnings"] == []
    assert record["classified"] == 15
    assert len(record["learner"]["sha256"]) == 64
    words = record["command"].split("experiments.classify ")[1]
    assert "--links" in words
    assert "--coverage" not in words, "a default"
    asked = []
    monkeypatch.setattr(sys, "argv", ["x", *words.split()])
    monkeypatch.setattr(command, "run_command", lambda work, settings, *rest: asked.append(settings) or 0)
    command.main()
    assert command_of(asked[0]) == record["command"]
    before = (root / "out" / "predictions.csv").read_bytes()
    classify(replace(asked[0], out=tmp_path / "again", links=False, posterior=False, cache_dir=tmp_path / "cache"))
    assert (tmp_path / "again" / "predictions.csv").read_bytes() == before


def test_links_and_the_posterior_are_there_when_asked_for(done):
    root, outcome = done
    links = sorted((root / "out" / "by-class").rglob("*.png"))
    assert len(links) == len(outcome.pile)
    assert {path.parent.name for path in links} <= {"cat & _dog_", "emu", "fox"}
    assert sorted(os.path.realpath(path) for path in links) == sorted(
        os.path.realpath(row.path) for row in outcome.pile
    )
    assert (root / "out" / "posterior.nc").stat().st_size > 0


def test_a_second_run_decodes_what_is_new_alone(done, any_learner, monkeypatch):
    root, first = done
    seen = []
    monkeypatch.setattr(
        decoding,
        "each_image",
        lambda paths, make, real=decoding.each_image: seen.extend(paths) or real(paths, make),
    )
    moved = root / "labeled" / "emu" / "new.png"
    path = next(row.path for row in first.pile if row.path.name == "1-0.png")
    shutil.copy(path, moved)
    try:
        again = classify(settings_for(root, any_learner, out=root / "second"))
    finally:
        moved.unlink()
    assert {one.name for one in seen} == {"broken.jpg"}
    assert str(path) in again.left.known
    assert len(again.pile) == len(first.pile) - 1
    damaged = next((root / "cache").rglob("*.safetensors"))
    damaged.write_bytes(damaged.read_bytes()[:-50])
    seen.clear()
    classify(settings_for(root, any_learner, out=root / "second"))
    assert len(seen) > 1


def test_pictures_outside_the_class_folders_are_the_pile_of_one_folder(tmp_path, any_learner):
    make_world(tmp_path, labeled=1, pile=0)
    for number, colour in enumerate(COLOURS.values()):
        picture(tmp_path / "labeled" / f"loose{number}.png", colour, 50 + number)
    one = tmp_path / "labeled"
    outcome = classify(settings_for(tmp_path, any_learner, unlabeled=one, out=one / "out", links=True))
    assert [row.path.name for row in outcome.pile] == ["loose0.png", "loose1.png", "loose2.png"]
    # Nothing can be left out, which is said; there are no sets.
    assert outcome.checked.alone == tuple(COLOURS)
    assert outcome.checked.sets is None
    assert {row["conformal_set"] for row in table(one / "out")} == {""}
    page = (one / "out" / "report.html").read_text()
    assert "Every class has one labeled picture" in page
    assert not re.search(r"\bnan\b", re.sub(r'"data:[^"]*"', "", page), re.IGNORECASE)
    same = classify(settings_for(tmp_path, any_learner, unlabeled=one, out=one / "out"))
    assert torch.equal(same.judged.probabilities, outcome.judged.probabilities), "results are no class"
    again = classify(settings_for(tmp_path, any_learner, unlabeled=tmp_path, labeled=one, out=one / "out"))
    assert len(again.pile) == 3, "labeled ones are taken out, and results are not looked into"
    assert len(again.left.known) == 3


def test_a_list_and_a_pile_inside_the_class_folders(tmp_path, any_learner):
    make_world(tmp_path, labeled=2)
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in (tmp_path / "labeled").rglob("*.png")]
    (tmp_path / "list.csv").write_text("path,label\n" + "\n".join(rows))
    listed = classify(settings_for(tmp_path, any_learner, labeled=tmp_path / "list.csv"))
    folders = classify(settings_for(tmp_path, any_learner))
    assert torch.equal(listed.judged.probabilities, folders.judged.probabilities)
    (tmp_path / "pile").rename(tmp_path / "labeled" / "unsorted")
    inside = classify(settings_for(tmp_path, any_learner, unlabeled=tmp_path / "labeled" / "unsorted"))
    assert inside.judged.classes == tuple(COLOURS)
    assert torch.equal(inside.judged.probabilities, folders.judged.probabilities)


def test_features_of_ones_own_need_no_pictures(tmp_path):
    random, centres = np.random.default_rng(0), np.eye(7)[:3]
    y = np.repeat([0, 1, 2], 4)
    labeled, pile, own = tmp_path / "l.npz", tmp_path / "p.npz", tmp_path / "o.safetensors"
    np.savez(labeled, x=(centres[y] + 0.05 * random.normal(size=(12, 7))).astype(np.float32), y=y)
    np.savez(pile, x=(centres + 0.05 * random.normal(size=(3, 7))).astype(np.float32))
    save_learner(own, learner(guide="init-only"))
    settings = settings_for(tmp_path, own, labeled=labeled, unlabeled=pile)
    outcome = classify(settings)
    rows = table(tmp_path / "out")
    assert [row["label"] for row in rows] == ["0", "1", "2"]
    assert [row["path"] for row in rows] == [f"{pile}:{n}" for n in range(3)]
    assert "<img" not in (tmp_path / "out" / "report.html").read_text()
    assert len(outcome.checked.truth) == 12
    np.savez(pile, x=np.ones((3, 8), dtype=np.float32))
    with pytest.raises(InputError, match=r"p.npz has features of 8 numbers, but the learner's have 7"):
        classify(settings)


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """Two classes, and a pile part of which is of neither, by the learner that comes with the project."""
    root, random = tmp_path_factory.mktemp("strange"), np.random.default_rng(0)
    centres = np.eye(20)[:4]
    y, truth = np.repeat(["a", "b"], 5), np.repeat([0, 1, 2, 3], 10)
    named = {"a": 0, "b": 1}
    x = centres[[named[name] for name in y]]
    np.savez(root / "l.npz", x=x + 0.12 * random.normal(size=x.shape), y=y)
    pile = centres[truth]
    np.savez(root / "p.npz", x=pile + 0.12 * random.normal(size=pile.shape))
    settings = settings_for(
        root, Path("lite0"), labeled=root / "l.npz", unlabeled=root / "p.npz", none_above=0.4, draws=4
    )
    return root, truth, classify(settings)


def test_what_belongs_to_no_class_stands_out_and_is_flagged(strange):
    root, truth, outcome = strange
    none = outcome.judged.none
    assert none is not None
    assert auroc(none[truth > 1], none[truth < 2]) > 0.95
    rows = table(root / "out")
    assert [row["none_of_these"] for row in rows] == [f"{float(p):.4f}" for p in none]
    flagged = torch.tensor([row["flag"] == "none of these" for row in rows])
    assert torch.equal(flagged, none > 0.4)
    assert bool(flagged.any())
    assert torch.equal(flagged, outcome.strange)
    record = json.loads((root / "out" / "learner.json").read_text())
    shares = [record["proportions"][name]["mean"] for name in ("a", "b")]
    assert sum(shares) + record["none_of_these"]["mean"] == pytest.approx(1)
    assert record["none_of_these"]["mean"] == pytest.approx(float(none.mean()), abs=1e-6)


def test_the_strange_ones_come_first_in_the_report(strange):
    root, _, outcome = strange
    text = (root / "out" / "report.html").read_text()
    assert Tags(text).open == []
    assert (
        0
        < text.index("Perhaps none of these classes")
        < text.index("What to label next")
        < text.index("By predicted")
    )
    part = text[text.index('id="strange"') : text.index('id="next"')].split('id="ask"')[0]
    shown = [int(n) for n in re.findall(r'title="[^"]*p.npz:(\d+)"', part)]
    assert sorted(shown) == outcome.strange.nonzero()[:, 0].tolist()
    assert [float(outcome.judged.none[n]) for n in shown] == sorted(
        (float(outcome.judged.none[n]) for n in shown), reverse=True
    )


def test_a_learner_of_one_size_of_tasks_knows_of_no_strangers(done):
    root, outcome = done
    assert outcome.judged.none is None
    assert not outcome.strange.any()
    assert {row["none_of_these"] for row in table(root / "out")} == {""}
    assert "none of these" not in (root / "out" / "report.html").read_text()


def test_a_large_pile_is_judged_in_parts(done, any_learner, monkeypatch):
    root, whole = done
    monkeypatch.setattr(judging, "AT_ONCE", 4)
    parts = classify(settings_for(root, any_learner, out=root / "parts"))
    assert len(parts.judged.parts) == 4
    assert [row.name for row in parts.pile] == [row.name for row in whole.pile]
    assert torch.equal(parts.judged.best, whole.judged.best), "each prediction is its own picture's"
    assert parts.judged.each.shape == whole.judged.each.shape


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("unknown", None),
        ("even", "even"),
        ("label,share\nemu,0.5\nfox,0.5\n", {"cat & <dog>": 0.0, "emu": 0.5, "fox": 0.5}),
        ('{"cat & <dog>": 0.333, "emu": 0.333, "fox": 0.333}', dict.fromkeys(COLOURS, 1 / 3)),
    ],
)
def test_what_is_known_of_the_shares_reaches_the_learner(tmp_path, done, any_learner, monkeypatch, given, expected):
    root, _ = done
    if expected not in (None, "even"):
        (tmp_path / "shares").write_text(given)
        given = str(tmp_path / "shares")
    told = []
    real = judging.FewShotClassifier.predict

    def predict(self, support, queries, proportions="unknown", **others):
        told.append(proportions)
        return real(self, support, queries, **others)

    monkeypatch.setattr(judging.FewShotClassifier, "predict", predict)
    classify(settings_for(root, any_learner, proportions=given, out=tmp_path / "out"))
    assert len(told) == 11, "a rehearsal, the pile, and 9 labeled ones left out"
    assert all(
        one == (pytest.approx(expected) if isinstance(expected, dict) else expected or "unknown") for one in told
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda root: shutil.rmtree(root / "labeled") or (root / "labeled").mkdir(), "holds no class folder"),
        (lambda root: [shutil.rmtree(root / "labeled" / name) for name in [*COLOURS][1:]], "has one class, cat"),
        (lambda root: (root / "labeled" / "gnu").mkdir(), r"class folder .*gnu holds no picture"),
        (
            lambda root: (root / "labeled" / "gnu").mkdir() or (root / "labeled" / "gnu" / "a.jpg").write_text("x"),
            r"class gnu has no picture that can be read \(.*a.jpg is",
        ),
        (
            lambda root: shutil.copytree(root / "labeled" / "fox", root / "labeled" / "gnu"),
            "class fox has no picture that is of this class alone",
        ),
        (lambda root: shutil.rmtree(root / "pile") or (root / "pile").mkdir(), "pile holds no picture"),
        (
            lambda root: shutil.rmtree(root / "pile") or shutil.copytree(root / "labeled", root / "pile"),
            "has no picture to classify: 0 cannot be read and 3 are labeled ones",
        ),
        (lambda root: shutil.rmtree(root / "pile"), "--unlabeled .*pile does not exist"),
        (
            lambda root: (
                shutil.rmtree(root / "pile") or (root / "pile").mkdir() or (root / "pile" / "a.jpg").write_text("x")
            ),
            r"has no picture to classify: 1 cannot be read \(.*a.jpg",
        ),
        (
            {"learner": "nobody"},
            "--learner nobody: there is no such learner; give a file, or one of lite0",
        ),
        (
            lambda root: shutil.rmtree(root / "labeled" / "fox"),
            "has 2 classes, but this learner serves .* 3 classes",
        ),
        ({"coverage": 1.0}, "--coverage 1.0"),
        ({"device": "gpu"}, "unknown device"),
        ({"proportions": "odd"}, "--proportions odd is no file"),
        ({"proportions": "label,share\ngnu,1\n"}, "names gnu, which is no class; the classes are cat"),
        ({"proportions": "label,share\nemu,0.5\nfox,0.2\n"}, "the shares add up to 0.7, not to 1"),
        ({"proportions": "label,share\nemu,2\nfox,-1\n"}, "the share of emu is 2, not 0 to 1"),
        ({"proportions": "label,share\nemu,many\n"}, "the share of emu is many, no number"),
        ({"proportions": "label,share\nemu,1\nemu,0\n"}, "names emu twice"),
        ({"proportions": '["emu"]'}, "is a JSON list; give an object that has the share of each class"),
        ({"proportions": '{"emu": 1'}, "is not valid JSON"),
        ({"labeled": "path,label\nnowhere.png,emu\n"}, "list.csv lists nowhere.png, but there is no such file"),
        ({"labeled": "name,class\na,b\n"}, "must have the columns path,label"),
    ],
)
def test_what_is_wrong_is_one_line_before_long_work(tmp_path, any_learner, monkeypatch, capsys, change, says):
    make_world(tmp_path, labeled=1, pile=1)
    settings = settings_for(tmp_path, any_learner)
    if "this learner serves" in says:
        save_learner(tmp_path / "three", learner(pictures=True))
        settings = replace(settings, learner=str(tmp_path / "three"))
    if callable(change):
        change(tmp_path)
    else:
        for name, file in (("proportions", "shares"), ("labeled", "list.csv")):
            if "\n" in (text := change.get(name, "")) or text.startswith(("{", "[")):
                (tmp_path / file).write_text(text)
                kind = str if name == "proportions" else Path
                change = change | {name: kind(tmp_path / file)}
        settings = replace(settings, **change)
    monkeypatch.setattr(sys, "argv", command_of(settings).split()[2:])
    monkeypatch.setattr(command, "from_command_line", lambda kind, name: settings)
    monkeypatch.setattr("pyro_sib.experiments.own_pictures.classify.Judge", None)
    assert command.main() == 2
    said = capsys.readouterr().err
    assert re.search(says, said), said
    assert said.count("\n") == 1
    assert not (tmp_path / "out" / "predictions.csv").exists()
