"""Tasks of images that f was not trained on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pyro_sib.data import DataSet
from pyro_sib.data.dataset import Split
from pyro_sib.data.names import BASE_TRAIN, BASE_VAL, VAL
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.job.tasks import make_sources
from pyro_sib.experiments.terminal.options import renamed

ROWS = {BASE_TRAIN: (0.0, 20), BASE_VAL: (1.0, 15), VAL: (2.0, 12)}


def world() -> DataSet:
    """Six classes a split; a row's first number says of which split it is, its second the place in its class."""

    def split(value, count):
        place = torch.arange(count).repeat(6).float()
        x = torch.stack([torch.full((6 * count,), value), place], dim=1)
        return Split(x, torch.arange(6).repeat_interleave(count), tuple("abcdef"))

    return DataSet("features", {name: split(*told) for name, told in ROWS.items()}, "", "f" * 32)


def rows(setting: str, images: str) -> dict[str, torch.Tensor]:
    """All novel and base rows of ten tasks of each purpose."""
    job = RunSettings(setting=setting, ways=3, queries=3, split="val", train_images=images).resolved()
    sources = make_sources(world(), job, VAL, torch.device("cpu"))
    found = {}
    for name, source in sources.items():
        index = source.sampler.sample(torch.arange(10))
        novel = source.sampler.novel.x[torch.cat([index.support.flatten(), index.query.flatten()])]
        base = None if source.sampler.base is None else source.sampler.base.x[index.base_query.flatten()]
        found[name] = novel if base is None else torch.cat([novel, base])
    return found


@pytest.mark.parametrize("setting", ["standard", "lwof"])
def test_they_are_four_fifths_of_base_val_and_the_evaluation_has_the_rest(setting):
    found = rows(setting, "held-out")
    assert set(found["train"][:, 0].tolist()) == {1.0}
    assert found["train"][:, 1].max() == 11
    for name in ("select", "evaluate"):
        kind, place = found[name].T
        assert set(kind.tolist()) == ({1.0, 2.0} if setting == "lwof" else {2.0})
        assert (place[kind == 1] >= 12).all()
    seen = rows(setting, "seen")
    assert set(seen["train"][:, 0].tolist()) == {0.0}


def test_a_learner_of_them_is_evaluated_on_data_without_base_classes():
    learner = "mini-imagenet-resnet12-1shot"
    job = RunSettings(learner=learner, data="folders", data_root=Path(), queries=3, ways=3, split="val").resolved()
    assert job.train_images == "held-out"
    alone = replace(world(), splits={VAL: world().split(VAL)})
    assert make_sources(alone, job, VAL, torch.device("cpu")).keys() == {"evaluate"}


def test_too_few_of_them_are_named():
    job = RunSettings(setting="standard", ways=3, queries=14, split="val", train_images="held-out").resolved()
    few = "features base_val, of which --train-images held-out takes 80%: class a has 12 images"
    data = world()
    data = replace(data, splits=data.splits | {VAL: data.split(BASE_TRAIN)})
    with renamed(), pytest.raises(InputError) as error:
        make_sources(data, job, VAL, torch.device("cpu"))
    assert few in error.value.said_with({"train_images": "--train-images"})
