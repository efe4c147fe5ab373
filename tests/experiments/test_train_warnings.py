"""What is said of a training that went wrong, and that nothing is said of one that did not."""

import re
from dataclasses import replace

import pytest
import torch

from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.job.train_warnings import Start, against_zero, below, training_warnings
from pyro_sib.inference.training import EpochRecord
from pyro_sib.scores.metrics import mean_interval
from pyro_sib.scores.summary import MeanInterval

SETTINGS = RunSettings(setting="standard", iterations=100, epochs=8).resolved()


def log(*accuracies, loss=1.0):
    return [EpochRecord(i + 1, 10 * (i + 1), loss, a, 1e-3) for i, a in enumerate(accuracies)]


def start(before, after, tasks=200):
    noise = 5 * torch.randn(2, tasks, generator=torch.Generator().manual_seed(0))
    return Start.of(before + noise[0], after + noise[1])


def test_a_training_that_went_well_has_no_warning():
    assert not training_warnings(log(55, 60, 62, 61.5), SETTINGS, start(58, 62))
    assert not training_warnings(log(62, 61.5, 61, 61), SETTINGS, start(62, 61.9))


@pytest.mark.parametrize(
    ("accuracies", "steps", "words"),
    [
        ((60, 55, 50, 40), None, ["training made it worse: 40.0% .* after 40 iterations, 60.0% after 10"]),
        ((60, 55, 50, float("nan")), None, ["training made it worse: nan%"]),
        ((21, 22, 24), (70, 24), ["steps lose accuracy: 70.* before them, 24"]),
        ((20, 20.5), (70, 20), ["steps lose accuracy", "where chance is 20.0%: before the steps it is 70"]),
        ((20, 20.5), None, ["no better than the prior does. Lower --kl-weight"]),
        ((20, 20.5), (20.1, 20.3), ["no better than the prior does. Lower --kl-weight"]),
    ],
)
def test_each_fault_is_named_with_its_likely_mend(accuracies, steps, words):
    found = training_warnings(log(*accuracies), SETTINGS, None if steps is None else start(*steps))
    assert len(found) == len(words)
    for text, pattern in zip(found, words, strict=True):
        assert re.search(pattern, text), text


def test_the_kl_is_not_blamed_where_there_is_none():
    zero = replace(SETTINGS, kl_weight=0.0)
    found = training_warnings(log(20, 20), zero, None) + training_warnings(
        [EpochRecord(1, 10, 1.0, 60, 1e-3), EpochRecord(2, 20, 90.0, 60, 1e-3)], zero, None
    )
    assert len(found) == 2
    assert not any("kl-weight" in text for text in found)
    assert "the features tell the classes apart" in found[0]


def test_few_selection_tasks_make_no_alarm():
    assert not training_warnings(log(60, 55, 52), replace(SETTINGS, select_tasks=10), None)


def test_a_difference_counts_beyond_its_interval_and_a_point():
    assert below(MeanInterval(-3.0, 1.0))
    assert not below(MeanInterval(-0.5, 0.1))
    assert not below(MeanInterval(-3.0, 4.0))
    assert not below(MeanInterval(float("nan"), 1.0))
    assert against_zero(mean_interval(torch.full((9,), -46.0)), 50)[0].startswith(
        "K = 50 is 46.0 ± 0.0 points below"
    )
    assert not against_zero(MeanInterval(2.0, 1.0), 3)
