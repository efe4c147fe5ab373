"""Features of all types, shapes and scales through a tiny evaluation: as at scale 1, or one line."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_sib.data import Split, read_features
from pyro_sib.data.names import VAL
from pyro_sib.errors import InputError
from pyro_sib.inference import GUIDES, GuideSettings, TaskForm
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.models import CosineCategorical, make_prior
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.tasks.episodes import EpisodeSampler
from pyro_sib.tasks.shape import EpisodeShape
from pyro_sib.tasks.source import TaskSource

CLASSES, ROWS = 4, 8
TYPES = ["float16", "float32", "float64", "int8", "uint8", "int64", "bool", "complex64", ">f4", "longdouble"]


def accuracy(x: torch.Tensor) -> float:
    """Of class means on four tasks of rows that are grouped by class; the tasks depend on no fingerprint."""
    y = torch.arange(CLASSES).repeat_interleave(ROWS)
    split = Split(x, y, tuple(f"c{c}" for c in range(CLASSES)))
    source = TaskSource(EpisodeSampler(split, None, EpisodeShape(3, 2, 4), 5), x, None)
    weights = ObjectiveWeights(0.0)
    prior, likelihood = make_prior("diagonal", x.shape[1], None), CosineCategorical(10.0)
    guide = GUIDES["init-only"](GuideSettings(), TaskForm(x.shape[1], 3), prior, likelihood, weights)
    return evaluate(guide, source, 4)[0].metrics()["novel"].mean


def directions(x: np.ndarray) -> torch.Tensor:
    """Unit rows, by way of extended precision."""
    wide = x.astype(np.longdouble)
    wide = wide / np.maximum(np.abs(wide).max(1, keepdims=True), np.finfo(np.longdouble).tiny)
    length = np.sqrt((wide**2).sum(1, keepdims=True))
    return torch.from_numpy((wide / np.where(length == 0, 1, length)).astype(np.float32))


def read(path):
    """The data, or the words by which it is refused."""
    try:
        return read_features(path), ""
    except InputError as error:
        return None, str(error)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(TYPES),
    exponent=st.floats(-320, 310),
    spread=st.sampled_from([0, 0, 0, 10, 60]),
    width=st.integers(1, 6),
    seed=st.integers(0, 99),
    zeros=st.integers(0, 2),
)
def test_any_features_are_served_as_at_scale_one_or_refused_in_one_line(
    tmp_path_factory, kind, exponent, spread, width, seed, zeros
):
    rng = np.random.default_rng(seed)
    y = np.arange(CLASSES).repeat(ROWS)
    x = rng.normal(size=(CLASSES, width))[y] + 0.5 * rng.normal(size=(len(y), width))
    x *= 10.0 ** (spread * (rng.random((len(y), 1)) - 0.5))
    x[:zeros] = 0
    with np.errstate(all="ignore"):
        wide = x.astype(np.longdouble) * np.longdouble(10) ** exponent
        stored = (np.abs(wide) > 1 if kind == "bool" else wide.real).astype(np.dtype(kind))
    path = tmp_path_factory.mktemp("any") / "a.npz"
    np.savez(path, val_x=stored, val_y=y)
    data, refusal = read(path)
    if data is None:
        assert refusal.count("\n") == 0
        return
    assert np.isfinite(stored).all()
    assert accuracy(data.split(VAL).x) == accuracy(directions(stored))
    found = (stored != 0).any(1)
    assert bool(found.all()) or any("are zero" in note for note in data.notes)
