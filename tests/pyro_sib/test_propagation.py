import pytest
import torch

from pyro_sib.cosine import unit
from pyro_sib.errors import InputError
from pyro_sib.tasks.episodes import EpisodeSampler, task_key
from pyro_sib.tasks.propagation import Propagation
from pyro_sib.tasks.shape import EpisodeShape
from pyro_sib.tasks.source import TaskSource
from tests.worlds import clusters


def source(propagation):
    world = clusters(8, 25, seed=1)
    sampler = EpisodeSampler(world, None, EpisodeShape(4, 2, 5), task_key("f", 0, "train"))
    return TaskSource(sampler, world.x, None, propagation)


def test_it_is_the_sum_over_walks_of_every_length():
    torch.manual_seed(0)
    x = torch.randn(2, 7, 5, dtype=torch.float64)
    z = unit(x)
    cosines = 3.0 * z @ z.transpose(1, 2)
    for task in range(2):
        walk = torch.stack([cosines[task, i].index_fill(0, torch.tensor(i), -1e9).softmax(-1) for i in range(7)])
        total, term = torch.zeros(7, 5, dtype=torch.float64), 0.4 * z[task]
        for _ in range(200):
            total, term = total + term, 0.6 * walk @ term
        smoothed = Propagation(0.6, 3.0).smooth(x)[task]
        torch.testing.assert_close(smoothed, unit(total), atol=1e-10, rtol=0)


def test_strength_zero_gives_unit_features():
    x = torch.randn(2, 7, 5)
    torch.testing.assert_close(Propagation(0.0).smooth(x), unit(x))


def test_tasks_keep_labels_and_do_not_see_each_other():
    plain, moved = source(None).episodes(torch.arange(6)), source(Propagation(0.5)).episodes(torch.arange(6))
    assert torch.equal(moved.query_y, plain.query_y)
    assert torch.equal(moved.evidence.support_y, plain.evidence.support_y)
    assert not torch.allclose(moved.evidence.query_x, unit(plain.evidence.query_x), atol=1e-3)
    alone = source(Propagation(0.5)).episodes(torch.tensor([4]))
    torch.testing.assert_close(alone.evidence.query_x[0], moved.evidence.query_x[4])
    torch.testing.assert_close(alone.evidence.support_x[0], moved.evidence.support_x[4])


def test_the_order_of_the_queries_does_not_matter():
    x = torch.randn(1, 9, 6)
    order = torch.randperm(9)
    torch.testing.assert_close(Propagation(0.7).smooth(x[:, order]), Propagation(0.7).smooth(x)[:, order])


@pytest.mark.parametrize("strength", [-0.1, 1.0, 2.0, float("nan")])
def test_impossible_strengths_are_refused(strength):
    with pytest.raises(InputError, match=r"0 \(none\) or more, and less than 1, is needed"):
        Propagation(strength)
