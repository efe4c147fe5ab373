"""Made domains of pictures: the same ones each time, other classes in each, spoiled as they say."""

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_sib.data import Split
from pyro_sib.errors import InputError
from pyro_sib.experiments.made_pictures import MadePicturesSettings
from pyro_sib.experiments.own_pictures import made_pictures as made
from pyro_sib.experiments.own_pictures.made import make_pictures
from tests.experiments.test_domains import pictures


@pytest.fixture
def small(monkeypatch):
    """Two classes of two pictures each."""
    for name, value in {"_EACH": 2, "_CLASSES": 2, "_SIDE": 48, "_LETTERS": "AB"}.items():
        monkeypatch.setattr(made, name, value)


def known(classes=6, each=3, side=24):
    x = torch.randint(256, (classes * each, 3, side, side), generator=torch.Generator().manual_seed(0)).byte()
    y = torch.arange(classes).repeat_interleave(each)
    return Split(x, y, tuple(f"k{c}" for c in range(classes)))


def bytes_of(name, seed=0):
    return [(label, picture.tobytes()) for label, picture in made.made_pictures(name, known(), seed)]


@pytest.mark.parametrize("name", [*made.PAINTED, *made.SPOILED])
def test_a_seed_gives_the_same_pictures_and_another_one_others(small, name):
    first = bytes_of(name)
    labels = [label for label, _ in first]
    assert len(first) == 4
    assert len(set(labels)) == 2
    assert first == bytes_of(name)
    assert (first == bytes_of(name, 1)) == (name in made.SPOILED), "spoiled ones draw nothing"


def test_each_spoiled_domain_is_of_classes_of_its_own(small):
    classes = [{label for label, _ in bytes_of(name)} for name in made.SPOILED]
    assert set.union(*classes) == {f"k{c}" for c in range(6)}
    assert sum(map(len, classes)) == 6


def test_edges_are_dark_where_the_brightness_changes():
    grey = np.full((20, 20, 3), 40, np.uint8)
    grey[:, 10:] = 220
    found = np.asarray(made.edges(Image.fromarray(grey)))[..., 0]
    assert (found[:, :5] == 255).all()
    assert (found[:, 15:] == 255).all()
    assert (found[:, 9:11] < 100).all()


def test_what_is_finer_than_twelve_pixels_a_side_is_gone():
    board = (np.indices((48, 48)).sum(0) % 2 * 255).astype(np.uint8)
    found = np.asarray(made.coarse(Image.fromarray(board).convert("RGB"))).astype(int)
    assert found.shape == (48, 48, 3)
    assert abs(found - 127.5).max() < 2


def test_tiles_are_the_negative_in_another_order():
    pixels = known().x[0].permute(1, 2, 0).numpy()
    found = np.asarray(made.tiles(Image.fromarray(pixels)))
    assert (np.sort(found.reshape(-1, 3), 0) == np.sort((255 - pixels).reshape(-1, 3), 0)).all()
    cut = {(255 - pixels[6 * r : 6 * r + 6, 6 * c : 6 * c + 6]).tobytes() for r in range(4) for c in range(4)}
    assert {found[6 * r : 6 * r + 6, 6 * c : 6 * c + 6].tobytes() for r in range(4) for c in range(4)} == cut
    assert not (found == 255 - pixels).all()


@pytest.mark.parametrize("given", [None, known(classes=5), known(each=1)])
def test_too_few_known_images_are_named(small, given):
    with pytest.raises(
        InputError, match="edges is made of 6 known classes of 2 images or more; give them as known"
    ):
        made.made_pictures("edges", given)


def test_the_command_writes_folders_that_trainings_read_and_leaves_those_that_are_there(small, tmp_path):
    settings = MadePicturesSettings(out=tmp_path / "made", cache_dir=tmp_path / "cache")
    (tmp_path / "made" / "painted").mkdir(parents=True)
    make_pictures(settings)
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["letters", "painted"]
    assert not list((tmp_path / "made" / "painted").iterdir())
    assert len(list((tmp_path / "made" / "letters").glob("*/*.png"))) == 4


def test_the_command_spoils_known_images(small, tmp_path):
    pictures(tmp_path / "known" / "train", classes=6, count=9)
    make_pictures(
        MadePicturesSettings(known=tmp_path / "known", out=tmp_path / "made", cache_dir=tmp_path / "cache")
    )
    assert {path.name for path in (tmp_path / "made").iterdir()} == {*made.PAINTED, *made.SPOILED}
    pictures(tmp_path / "few" / "train", classes=5, count=9)
    few = MadePicturesSettings(known=tmp_path / "few", out=tmp_path / "none", cache_dir=tmp_path / "cache")
    with pytest.raises(InputError, match="is made of 6 known classes of 2 images"):
        make_pictures(few)
    assert not list((tmp_path / "none").glob("*")), "what is refused is refused before anything is painted"
    with pytest.raises(InputError, match=r"--known .*nowhere is no folder"):
        MadePicturesSettings(known=tmp_path / "nowhere").check()
