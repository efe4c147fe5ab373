"""Learners that come with the project give the accuracies that their cards claim.

The images cannot lie in the repository. PYRO_SIB_MINI_IMAGENET names a folder with mini-ImageNet's base and
validation classes (as --data-root has it), and PYRO_SIB_CACHE one in which decoded images and features are kept;
without the first these tests are left out.
"""

import os
from pathlib import Path

import pytest
import torch

from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.job.ship import measure
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.settings.card import SHIPPED, read_learner_card

FOLDER = os.environ.get("PYRO_SIB_MINI_IMAGENET")
NAMES = [name for name in SHIPPED if read_learner_card(name).data["name"] == "mini-imagenet"]
TASKS = 300


def claims(name):
    """What the card claims, by what it is of."""
    return {one.what: one for one in read_learner_card(name).measured}


def agree(found, claimed) -> bool:
    """Whether an accuracy on a part of the tasks is the claimed one, within three standard errors."""
    return abs(found.accuracy - claimed.accuracy) < 3 * found.ci95 / 1.96


@pytest.mark.slow
@pytest.mark.skipif(FOLDER is None, reason="PYRO_SIB_MINI_IMAGENET names no folder of images")
@pytest.mark.parametrize("name", NAMES)
def test_it_gives_the_accuracy_that_its_card_claims(name, tmp_path):
    card = read_learner_card(name)
    like = RunSettings(
        data="folders",
        data_root=Path(str(FOLDER)),
        split="val",
        shots=card.tasks.shots,
        ways=card.tasks.ways,
        queries=card.tasks.queries,
        cache_dir=Path(os.environ.get("PYRO_SIB_CACHE", tmp_path)),
    )
    claimed = claims(name)
    own = TASKS if any("held-out images" in what for what in claimed) else 0
    found = measure(load_learner(name), name, like, TASKS, own, torch.device("cpu"), Reporter())
    assert found
    for one in found:
        assert agree(one, claimed[one.what]), (one, claimed[one.what])
