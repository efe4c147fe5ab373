import hashlib
from dataclasses import fields

import pytest
import torch

from pyro_sib.data import Split
from pyro_sib.errors import InputError
from pyro_sib.tasks.episodes import EpisodeSampler, gather, task_key
from pyro_sib.tasks.shape import EpisodeShape
from tests.worlds import clusters

KEY = task_key("fingerprint", 0, "train")
NOVEL, BASE = clusters(8, 25, seed=1), clusters(10, 20, seed=2)


def _sampler(pseudo: bool = False, base_queries: int = 30) -> EpisodeSampler:
    shape = EpisodeShape(4, 2, 5, base_queries)
    return EpisodeSampler(BASE if pseudo else NOVEL, BASE, shape, KEY)


def _digest(index) -> str:
    parts = (index.support, index.query, index.base_query, index.query_y, index.base_ids)
    return hashlib.blake2b(b"".join(p.numpy().tobytes() for p in parts), digest_size=8).hexdigest()


def test_golden_episodes():
    """A change here means that published episodes are no longer the same: say so in the change log."""
    assert _digest(_sampler().sample(torch.arange(10))) == "84a9f2059f9dd740"
    assert _digest(_sampler(pseudo=True).sample(torch.arange(10))) == "c71fe5bb8ff93de8"


@pytest.mark.parametrize("pseudo", [False, True])
def test_an_episode_does_not_depend_on_its_batch(pseudo):
    sampler = _sampler(pseudo)
    whole = sampler.sample(torch.arange(20))
    one = sampler.sample(torch.tensor([13]))
    for name in ("support", "query", "base_query", "query_y", "base_ids"):
        assert torch.equal(getattr(one, name)[0], getattr(whole, name)[13])


def test_rows_labels_and_classes_agree():
    index = _sampler().sample(torch.arange(50))
    for task in range(50):
        support, query = index.support[task], index.query[task]
        assert len({*support.tolist(), *query.tolist()}) == 4 * 7
        support_class = NOVEL.y[support].view(4, 2)
        assert (support_class == support_class[:, :1]).all()
        assert len(set(support_class[:, 0].tolist())) == 4
        assert torch.equal(NOVEL.y[query].view(4, 5), support_class[:, :1].expand(4, 5))
        base = index.base_query[task]
        assert len(set(base.tolist())) == 30
        assert torch.equal(BASE.y[base], index.base_ids[task][index.query_y[task, 20:]])
    assert torch.equal(index.query_y[0, :20], 10 + torch.arange(4).repeat_interleave(5))


def test_the_classes_that_play_novel_are_left_out_of_the_base():
    index = _sampler(pseudo=True).sample(torch.arange(50))
    assert index.base_ids.shape == (50, 6)
    for task in range(50):
        novel = set(BASE.y[index.support[task]].tolist())
        assert not novel & set(index.base_ids[task].tolist())
        assert not novel & set(BASE.y[index.base_query[task]].tolist())


def test_seed_and_purpose_give_other_tasks():
    shape = EpisodeShape(4, 2, 5)
    digests = set()
    for key in (task_key("f", 0, "a"), task_key("f", 1, "a"), task_key("f", 0, "b"), task_key("g", 0, "a")):
        digests.add(EpisodeSampler(NOVEL, None, shape, key).sample(torch.arange(3)).support.sum().item())
    assert len(digests) == 4


def test_a_small_base_class_is_not_drawn_beyond_its_images():
    base = Split(torch.randn(12, 3), torch.arange(6).repeat_interleave(2), tuple("abcdef"))
    index = EpisodeSampler(NOVEL, base, EpisodeShape(4, 1, 3, 12), KEY).sample(torch.arange(5))
    assert all(sorted(row) == list(range(12)) for row in index.base_query.tolist())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (EpisodeShape(9, 1, 5), "has 8 classes, fewer than the 9 of a task"),
        (EpisodeShape(4, 20, 6), "has 25 images, but shots 20 [+] queries 6 needs 26"),
        (EpisodeShape(4, 1, 5, 300), "200 base images for 300 base queries"),
    ],
)
def test_impossible_sizes_are_refused(shape, message):
    with pytest.raises(InputError, match=message):
        EpisodeSampler(NOVEL, BASE, shape, KEY)


def test_a_training_task_keeps_a_base_class_where_base_classes_are_wanted():
    EpisodeSampler(NOVEL, None, EpisodeShape(8, 1, 5), KEY)
    with pytest.raises(InputError, match="8 classes, fewer than the 8 of a task and a base class"):
        EpisodeSampler(NOVEL, NOVEL, EpisodeShape(8, 1, 5), KEY)


@pytest.mark.parametrize("bad", [{"ways": 1}, {"shots": 0}, {"queries": 0}])
def test_impossible_shapes_are_refused(bad):
    with pytest.raises(InputError, match="or more is needed"):
        EpisodeShape(**bad)


def test_gather_looks_the_rows_up():
    sampler = _sampler()
    index = sampler.sample(torch.arange(3))
    episode = gather(index, NOVEL.x, BASE.x, sampler.shape)
    assert torch.equal(episode.evidence.support_x, NOVEL.x[index.support])
    assert torch.equal(episode.evidence.query_x[:, 20:], BASE.x[index.base_query])
    assert episode.evidence.joint
    torch.testing.assert_close(
        episode.evidence.class_means(episode.evidence.support_x)[1, 2], NOVEL.x[index.support[1, 4:6]].mean(0)
    )


@pytest.mark.parametrize(("first", "last"), [(0, 3), (250, 260), (100, 700), (255, 256), (3, 9)])
def test_a_span_is_those_tasks_one_after_another(first, last):
    split = clusters(8, 30, seed=0)
    sampler = EpisodeSampler(split, split, EpisodeShape(5, 1, 3, 6), task_key("x", 0, "train"))
    expected, found = sampler.sample(torch.arange(first, last)), sampler.span(first, last)
    for field in fields(expected):
        assert torch.equal(getattr(expected, field.name), getattr(found, field.name)), field.name


def test_what_is_done_to_a_span_does_not_reach_the_next():
    split = clusters(8, 30, seed=0)
    shape = EpisodeShape(5, 1, 3, 6)
    sampler = EpisodeSampler(split, split, shape, task_key("x", 0, "train"))
    found = []
    for _ in range(2):
        episode = gather(sampler.span(0, 4), split.x, split.x, shape)
        parts = (episode.query_y, episode.evidence.base_ids, episode.evidence.task_ids)
        found.append([part.clone() for part in parts])
        for part in parts:
            part.fill_(-1)
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_span_without_base_classes_has_none():
    sampler = EpisodeSampler(clusters(8, 30, seed=0), None, EpisodeShape(5, 1, 3), task_key("x", 0, "val"))
    assert sampler.span(255, 258).base_ids is None


def test_a_split_is_divided_class_by_class():
    y = torch.tensor([0] * 5 + [1] * 2 + [3] * 10)
    split = Split(torch.arange(17.0)[:, None], y, tuple("abcd"))
    first, rest = split.divided(0.8)
    assert first.counts.tolist() == [4, 1, 0, 8]
    assert rest.counts.tolist() == [1, 1, 0, 2]
    assert first.x.flatten().tolist() == [0, 1, 2, 3, 5, *range(7, 15)]
    assert sorted([*first.x.flatten().tolist(), *rest.x.flatten().tolist()]) == list(range(17))
    assert first.class_names == rest.class_names == split.class_names
