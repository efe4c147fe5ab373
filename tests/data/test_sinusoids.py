import hashlib

import pytest
import torch

from pyro_sib.data.worlds.sinusoid_shape import SinusoidShape
from pyro_sib.data.worlds.sinusoids import SinusoidSource, sinusoid_key
from pyro_sib.errors import InputError
from pyro_sib.features.fourier import FourierFeatures, learn_gains, plain_features


def _source(shots: int = 5, queries: int = 15) -> SinusoidSource:
    return SinusoidSource(SinusoidShape(shots, queries), sinusoid_key(0, "tests"), lambda x: x)


def test_golden_tasks():
    """A change of the inputs means that published tasks are no longer the same: say so in the change log.

    The labels pass through sin, whose last digit is the machine's own.
    """
    support, query = _source().inputs(torch.arange(10))
    both = torch.cat([support, query], dim=1).mul(1000).round().long()
    assert hashlib.blake2b(both.numpy().tobytes(), digest_size=8).hexdigest() == "fb238748daba95a5"
    expected = torch.tensor([[-0.60596, -0.42479, -0.60756], [-3.64546, 3.40673, -3.88704]])
    torch.testing.assert_close(_source().episodes(torch.arange(2)).query_y[:, :3], expected, rtol=0, atol=1e-4)


def test_a_task_does_not_depend_on_its_batch():
    whole, one = _source().episodes(torch.arange(20)), _source().episodes(torch.tensor([13]))
    assert torch.equal(one.query_y[0], whole.query_y[13])
    assert torch.equal(one.evidence.support_x[0], whole.evidence.support_x[13])
    batch = _source().batch(iteration=3, size=4)
    assert torch.equal(batch.query_y[1], whole.query_y[13])
    assert batch.evidence.task_ids.tolist() == [12, 13, 14, 15]


def test_no_labeled_point_is_a_query():
    support, query = _source(200, 300).inputs(torch.arange(20))
    for task in torch.cat([support, query], dim=1):
        assert len(set(task.tolist())) == 500


def test_tasks_are_those_of_finn_et_al():
    source = _source()
    grid = torch.linspace(-5, 5, 4001).expand(500, -1)
    curves = source.curve(torch.arange(500), grid)
    amplitude = curves.abs().amax(-1)
    assert 0.09 < float(amplitude.min()) < 0.3
    assert 4.8 < float(amplitude.max()) <= 5
    assert abs(float(amplitude.mean()) - 2.55) < 4 * 1.42 / 500**0.5
    support, _ = source.inputs(torch.arange(500))
    assert -5 < float(support.min()) < -4.9
    assert 4.9 < float(support.max()) < 5


@pytest.mark.parametrize("bad", [{"shots": 0}, {"queries": 0}, {"shots": 6000}])
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(InputError, match=r"^(shots|queries) \d+: from 1 to 5000 is needed$"):
        SinusoidShape(**bad)


def test_features_are_waves_with_gains():
    features = FourierFeatures(torch.arange(1.0, 8))
    x = torch.tensor([[0.0], [3.0]])
    torch.testing.assert_close(features(x)[0], torch.tensor([1.0, 2, 3, 4, 0, 0, 0]))
    torch.testing.assert_close(features(x)[1], torch.tensor([1.0, 0, -3, 0, 5, 0, -7]), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"^frequencies 0: 1 or more is needed$"):
        plain_features(0)


def test_stage_one_finds_the_waves_of_the_tasks():
    """Base weights of mean square one that reproduce their tasks; the wave closest to sin x is the largest."""
    plain = plain_features(10)
    source = SinusoidSource(SinusoidShape(50, 1), sinusoid_key(0, "base"), plain)
    evidence = source.episodes(torch.arange(100)).evidence
    features, weights = learn_gains(plain, evidence.support_x, evidence.support_y)
    torch.testing.assert_close(weights.square().mean(0), torch.ones(21))
    fitted = ((evidence.support_x * features.gains) @ weights[..., None]).squeeze(-1)
    assert float((fitted - evidence.support_y).square().mean()) < 1e-3
    assert sorted(features.gains.argsort(descending=True)[:2].tolist()) == [2, 12]
