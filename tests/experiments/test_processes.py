"""What takes processes of its own: runs that are stopped, a learner's bits elsewhere, the memory of work."""

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_sib import FewShotClassifier
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.speed.timing import peak_mib
from pyro_sib.files import read_json
from pyro_sib.tensor_files import read_tensors
from tests.experiments.processes import command, ended, start, stopped_run
from tests.experiments.test_run import small, write_features

__all__ = ["small"]


@pytest.fixture(autouse=True, scope="module")
def _server():
    start()


def _options(out: Path, features: Path) -> list[str]:
    options = (
        f"--setting lwof --features {features} --ways 3 --queries 4 --iterations 24 --epochs 8 --select-tasks 5 "
        f"--eval-tasks 20 --draws 2 --no-compare --threads 1 --out {out} --cache-dir {out}-cache"
    )
    return options.split()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    """The features and the result of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    features = write_features(folder / "features.npz")
    assert ended(command, "run", *_options(folder / "out", features), said=folder / "said") == 0
    return folder


def _stopped(options: list[str], out: Path, iteration: int, stop: signal.Signals) -> str:
    """Run it till the signal comes in that iteration, and see that it left as it should; what it said on stderr."""
    said = out.with_name("said")
    code = ended(stopped_run, iteration, int(stop), *options, said=said)
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[stop]
    assert not (out / "result.json").exists()
    assert len(read_tensors(out / "sib.safetensors")[1]["log"]) == iteration // 3
    return said.read_text()


def test_killed_and_run_again_gives_the_same_bits(tmp_path, unbroken):
    """Stopped by kill -9, by SIGTERM and by Ctrl-C, one after another, and then left to end."""
    features, broken = unbroken / "features.npz", tmp_path / "broken"
    options = _options(broken, features)
    _stopped(options, broken, 5, signal.SIGKILL)
    for iteration, stop in ((10, signal.SIGTERM), (16, signal.SIGINT)):
        said = _stopped(options, broken, iteration, stop)
        assert "the same command goes on from the last finished epoch" in said
        assert "Traceback" not in said
    assert ended(command, "run", *options, said=tmp_path / "said") == 0
    tensors = [read_tensors(folder / "sib.safetensors") for folder in (unbroken / "out", broken)]
    assert tensors[0][1] == tensors[1][1]
    assert all(torch.equal(value, tensors[1][0][name]) for name, value in tensors[0][0].items())
    results = [read_json(folder / "result.json") for folder in (unbroken / "out", broken)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert (unbroken / "out" / "tasks.csv").read_text() == (broken / "tasks.csv").read_text()


def _task(rows: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Labeled examples, and queries."""
    return {"a": rows[:2], "b": rows[2:3], "c": rows[3:5]}, rows[5:]


def predicted(file: Path, folder: Path) -> None:
    """What a learner's file says of the rows in a folder, into another file there."""
    learner = FewShotClassifier.load(file)
    np.save(folder / "there.npy", learner.predict(*_task(np.load(folder / "rows.npy"))).probabilities)


def test_a_learner_predicts_the_same_bits_in_another_process(small, tmp_path):
    run(replace(small, setting="standard", compare=False))
    file = small.out / "learner.safetensors"
    learner = FewShotClassifier.load(file)
    rows = np.random.default_rng(0).normal(size=(9, learner.card.features)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    here = learner.predict(*_task(rows)).probabilities
    assert ended(predicted, file, tmp_path, said=tmp_path / "said") == 0
    assert np.array_equal(here, np.load(tmp_path / "there.npy"))


def test_peak_memory_is_that_of_the_work_alone():
    small, large = (peak_mib(partial(torch.ones, n * 2**20), torch.device("cpu"), 1) for n in (1, 64))
    assert 0 <= small < 32
    assert large == pytest.approx(256, abs=32)
