"""Tasks whose numbers cannot be are refused when they are made, with the class, label or row named."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from pyro_sib.types import Episode, Evidence
from tests.worlds import make_world


def evidence(labels=(0, 1, 2, 0, 1, 2), ways=3, **changes):
    parts = {
        "support_x": torch.randn(2, 6, 5),
        "support_y": torch.tensor(labels).expand(2, -1),
        "query_x": torch.randn(2, 4, 5),
        "ways": ways,
    }
    return Evidence(**parts | changes)


def poked(shape, row, value):
    x = torch.randn(shape)
    x[1, row] = value
    return x


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"labels": (0, 0, 0, 1, 1, 1)}, "class 2 of task 0 has no labeled example"),
        ({"labels": (0, 1, 2, 0, 1, 7)}, r"label 7 \(task 0\), but the classes of a 3-way task are 0 to 2"),
        ({"labels": (0, 1, 2, 0, 1, -1)}, r"label -1 \(task 0\)"),
        ({"support_y": torch.tensor([[0, 1, 2, 0, 1, 2], [0, 1, 1, 0, 1, 1]])}, "class 2 of task 1"),
        ({"labels": (0.0, 1.0, 2.0, 0.0, 1.0, 2.0)}, "support_y should hold integers but is torch.float32"),
        ({"labels": (True, False) * 3, "ways": 2}, "support_y should hold integers but is torch.bool"),
        ({"labels": (float("nan"),) * 6, "ways": 1}, "support_y should be finite"),
        ({"ways": 0}, "ways is 0"),
        ({"support_y": torch.arange(6)}, r"support_y should be \(T, M\)"),
        ({"support_x": poked((2, 6, 5), 3, torch.nan)}, "support_x should be finite, but row 3 of task 1"),
        ({"query_x": poked((2, 4, 5), 2, torch.inf)}, "query_x should be finite, but row 2 of task 1"),
        ({"base_ids": torch.tensor([[0, 1], [2, -3]])}, "base_ids has -3 in task 1"),
        ({"base_ids": torch.tensor([[0, 1], [4, 4]])}, "base_ids names base class 4 twice in task 1"),
        ({"base_ids": torch.rand(2, 2)}, "base_ids should hold integers"),
    ],
)
def test_evidence_that_cannot_be_is_refused(changes, match):
    with pytest.raises(ValueError, match=match):
        evidence(**changes)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8])
def test_labels_of_any_integer_type_are_served_alike(dtype):
    world = make_world()
    task = world.source.episodes(torch.arange(2)).evidence
    expected = world.guide.probabilities(task, 0)[0]
    other = replace(task, support_y=task.support_y.to(dtype))
    torch.testing.assert_close(world.guide.probabilities(other, 0)[0], expected)


def test_finite_features_whose_sum_overflows_are_served():
    huge = torch.full((2, 6, 5), 3e38)
    assert evidence(support_x=huge).support_x is huge


def test_integer_images_are_served():
    images = torch.zeros(2, 6, 3, 4, 4, dtype=torch.uint8)
    evidence(support_x=images, query_x=images)


@pytest.mark.parametrize(
    ("labels", "match"),
    [((0, 1, 2, 3), r"query_y has the label 3 \(task 0\)"), ((0, -2, 1, 1), "query_y has the label -2")],
)
def test_query_labels_that_cannot_be_are_refused(labels, match):
    with pytest.raises(ValueError, match=match):
        Episode(evidence(), torch.tensor(labels).expand(2, -1))


def test_queries_of_no_known_class_and_of_base_classes_are_served():
    Episode(evidence(), torch.tensor((0, -1, 2, 2)).expand(2, -1))
    joint = evidence(base_ids=torch.arange(4).expand(2, -1), joint=True)
    Episode(joint, torch.tensor((0, 6, 3, 4)).expand(2, -1))
    with pytest.raises(ValueError, match="label 7"):
        Episode(joint, torch.tensor((0, 7, 3, 4)).expand(2, -1))


def test_values_stand_for_labels_in_regression():
    values = torch.randn(2, 6)
    task = evidence(support_y=values, ways=1)
    Episode(task, torch.randn(2, 4))


def test_fake_and_meta_tensors_are_not_looked_at():
    with FakeTensorMode():
        evidence(labels=(0, 0, 0, 0, 0, 0))
    evidence(
        support_x=torch.randn(2, 6, 5, device="meta"),
        support_y=torch.zeros(2, 6, dtype=torch.int64, device="meta"),
        query_x=torch.randn(2, 4, 5, device="meta"),
    )


def test_a_sampler_s_tasks_pass_the_check():
    for joint in (False, True):
        episode = make_world("mixture", joint).source.episodes(torch.arange(3))
        episode.evidence.check()
        episode.check()
        episode.oracle().check()
