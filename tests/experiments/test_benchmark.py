import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from pyro_sib.data import read_images
from pyro_sib.errors import InputError
from pyro_sib.experiments.benchmark import STAGES, BenchmarkSettings
from pyro_sib.experiments.speed import images as benchmark_images
from pyro_sib.experiments.speed import stages as benchmark_stages
from pyro_sib.experiments.speed import timing
from pyro_sib.experiments.speed.benchmark import benchmark
from pyro_sib.experiments.speed.case import TaskCase
from pyro_sib.experiments.speed.double_backward import DoubleBackwardLearner
from pyro_sib.experiments.speed.figures import growth
from pyro_sib.experiments.speed.floor import inference_flops, measure_rates, training_flops
from pyro_sib.experiments.speed.peers import DoubleBackwardBatched
from pyro_sib.experiments.speed.row import Bench, Row
from pyro_sib.experiments.speed.timing import Clock, interleaved
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.inference.training import Trainer

CPU = torch.device("cpu")
CASE = TaskCase(tasks=3, ways=4, shots=2, queries=20, steps=3, features=11)
KEYS = {"stage", "params", "peer", "ours_s", "peer_s", "ratio", "floor_s", "peak_mib"}
PEER_NAMES = {
    "double_backward_batched",
    "double_backward_loop",
    "pyro_free",
    "easyfsl_protonet",
    "easyfsl_tim",
    "imagefolder",
}


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def double(program):
    for module in program.modules().values():
        module.double()
    return program


def train(program, episode, folder, iterations=3):
    """Our training, and the noise of each iteration's draw of w."""
    noise = []
    shape = (episode.evidence.tasks, episode.evidence.ways, episode.evidence.query_x.shape[-1])

    def batch(iteration):
        with torch.random.fork_rng(devices=[]):
            noise.append(torch.normal(torch.zeros(shape).double(), torch.ones(shape).double()))
        return episode

    settings = TrainSettings(iterations=iterations, epochs=iterations, batch_size=3)
    trainer = Trainer(program.model, program.guide, program.modules(), settings, Path(folder) / "a.safetensors")
    trainer.run(batch, validate=lambda: 0.0)
    return trainer, noise


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("name", benchmark_stages.PEERS)
def test_a_peer_trains_to_the_same_values(tmp_path, name, steps):
    case = TaskCase(**{**CASE.__dict__, "steps": steps})
    program, episode = double(case.program(CPU)), case.episode(CPU, torch.float64)
    peer = benchmark_stages.PEERS[name](program)
    start = {n: p.detach().clone() for n, p in peer.parameters.items()}
    trainer, noise = train(program, episode, tmp_path)
    losses = []
    for each, record in zip(noise, trainer.log, strict=True):
        peer.optimizer.set_learning_rate(record.learning_rate)
        losses.append(peer.step(episode, each))
    # An ELBO has the Gaussians' constants, which cancel: the values are the same as they stand.
    torch.testing.assert_close(losses, [record.loss for record in trainer.log], rtol=1e-9, atol=0)
    ours = {f"{m}.{n}": p for m, part in program.modules().items() for n, p in part.named_parameters()}
    moments = trainer.optimizer.get_state()
    for parameter, value in peer.parameters.items():
        # exp_avg is the mean of the gradients, to which Adam's update is all but blind.
        gradient = peer.optimizer.get_state()[f"{parameter}.exp_avg"]
        torch.testing.assert_close(gradient, moments[f"{parameter}.exp_avg"], rtol=1e-7, atol=1e-13)
        torch.testing.assert_close(value.detach(), ours[parameter].detach(), rtol=1e-7, atol=1e-9)
        assert not torch.equal(value, start[parameter])


@pytest.mark.parametrize("joint", [False, True])
def test_one_task_at_a_time_predicts_the_same(joint):
    case = TaskCase(**{**CASE.__dict__, "tasks": 6, "joint": joint})
    program, source = double(case.program(CPU)), case.source(CPU)
    source = type(source)(
        source.sampler, source.novel.double(), None if source.base is None else source.base.double()
    )
    evidence = source.episodes(torch.arange(6)).evidence
    program.guide.eval()
    expected = program.guide.probabilities(evidence, 0)[0]
    torch.testing.assert_close(DoubleBackwardLearner(program).probabilities(evidence, 0)[0], expected)
    assert (expected.max(-1).values - 1 / expected.shape[-1]).max() > 0.05


def test_easyfsl_prototypes_are_the_nearest_class_mean():
    pytest.importorskip("easyfsl")
    evidence = CASE.episode(CPU).evidence
    peer = benchmark_stages.EasyfslPrototypes()
    distance = torch.cdist(evidence.query_x, evidence.class_means(evidence.support_x))
    torch.testing.assert_close(peer.probabilities(evidence, 0)[0], (-distance).softmax(-1), rtol=1e-3, atol=1e-4)


def test_easyfsl_tim_predicts_as_the_comparator_task_by_task():
    pytest.importorskip("easyfsl")
    case = TaskCase(**{**CASE.__dict__, "tasks": 4})
    bench = Bench(CPU, 1, measure_rates(CPU, quick=True), True, 0.0, ("c64f",), print)
    source = case.source(CPU)
    tim, tasks = benchmark_stages.easyfsl_peers(bench, case, source.novel.mean(0))["easyfsl_tim"]
    alone, together = (evaluate(tim, source, tasks, batch_size=size)[0] for size in (1, 4))
    torch.testing.assert_close(alone.nll, together.nll, rtol=1e-3, atol=1e-4)
    assert together.novel.mean() > 100 / case.ways


def test_imagefolder_reads_the_same_pixels(tmp_path):
    root = benchmark_images.write_jpegs(tmp_path / "images", 48, 32)
    torch.set_num_threads(1)
    theirs = benchmark_images.imagefolder(root, 16)
    data = read_images(root, 16, tmp_path / "cache")
    y = torch.cat([split.y for split in data.splits.values()])
    ours = torch.cat([split.x for split in data.splits.values()])[torch.argsort(y, stable=True)]
    assert ours.shape == theirs.shape
    assert int((ours.int() - theirs.int()).abs().max()) <= 2
    assert int((ours.int() - theirs.roll(1, 0).int()).abs().max()) > 20


def test_the_count_of_arithmetic_is_that_of_the_matrix_products():
    program, source = CASE.program(CPU), CASE.source(CPU)
    with FlopCounterMode(display=False) as counter:
        DoubleBackwardLearner(program).probabilities(source.episodes(torch.arange(CASE.tasks)).evidence, 0)
    class_means = 2 * CASE.tasks * CASE.ways * CASE.ways * CASE.shots * CASE.features
    assert counter.get_total_flops() == inference_flops(CASE) + class_means
    peer = DoubleBackwardBatched(program)
    with FlopCounterMode(display=False) as counter:
        peer.step(CASE.episode(CPU))
    assert training_flops(CASE) <= counter.get_total_flops() <= 1.01 * training_flops(CASE)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 3), (1e9, 5)])
def test_works_take_turns_after_a_round_that_does_not_count(monkeypatch, seconds, rounds):
    turns, tidied, clock = [], [], Clock(CPU)
    monkeypatch.setattr(timing, "gc", SimpleNamespace(collect=lambda: tidied.append(len(turns))))
    # A work in its nth turn takes n seconds, the first ten times as long.
    clock.now = lambda: sum(10.0 if turn < 2 else turn // 2 for turn in range(len(turns)))
    works = {name: partial(turns.append, name) for name in ("ours", "peer")}
    medians = interleaved(works, clock, seconds, most=5)
    assert turns == ["ours", "peer"] * (1 + rounds)
    assert tidied == [2 * n for n in range(1, 1 + rounds)]
    assert medians == dict.fromkeys(works, (1 + rounds) / 2)


def test_quick_writes_rows_a_machine_and_a_figure(tmp_path, monkeypatch, rendered):
    for module in (benchmark_stages, benchmark_images):
        monkeypatch.setattr(module, "peak_mib", lambda work, device, threads: work() or 1.0)
        monkeypatch.setattr(
            module, "interleaved", lambda works, clock, *_, **__: interleaved(works, clock, 0.0, 1, 1)
        )
    monkeypatch.setattr(timing, "gc", SimpleNamespace(collect=lambda: None))
    time_training = partial(benchmark_stages.time_training, least=1, most=1)
    monkeypatch.setattr(benchmark_stages, "time_training", time_training)
    path = tmp_path / "new" / "bench.json"
    stages = "svi_step,evaluate,extract,decode"
    benchmark(BenchmarkSettings(quick=True, seconds=0.0, threads=1, device="cpu", json=path, stages=stages))
    rows = json.loads(path.read_text())
    assert {row["stage"] for row in rows} == set(stages.split(","))
    for row in rows:
        assert set(row) == KEYS
        assert row["peer"] in PEER_NAMES | {None}
        assert row["ours_s"] > 0
        assert row["params"]["threads"] == 1
        assert (row["peer"] is None) == (row["ratio"] is None)
        if row["peer"] is not None:
            assert row["ratio"] == pytest.approx(row["ours_s"] / row["peer_s"])
    keys = [(row["stage"], json.dumps(row["params"]), row["peer"]) for row in rows]
    assert len(set(keys)) == len(keys)
    machine = json.loads(path.with_suffix(".machine.json").read_text())
    assert machine["threads"] == 1
    assert "torch" in machine["versions"]
    assert path.with_suffix(".png").stat().st_size > 10_000


def test_the_stages_and_the_training_peers_have_their_names():
    assert list(STAGES) == ["svi_step", "evaluate", "evaluate_lwof", "pretrain", "extract", "decode", "startup"]
    assert list(benchmark_stages.PEERS) == ["double_backward_batched", "double_backward_loop", "pyro_free"]


@pytest.mark.slow
def test_every_other_stage_gives_rows():
    bench = Bench(CPU, 1, measure_rates(CPU, quick=True), True, 0.0, ("c64f",), print)
    for name in ("evaluate_lwof", "pretrain", "startup"):
        rows = list(STAGES[name](bench, lambda done, total: None))
        assert rows
        assert all(row.stage == name and row.ours_s > 0 for row in rows)
        assert {row.peer for row in rows} <= {None, "double_backward_loop"}
        if name == "pretrain":
            said = rows[0].params
            assert said["precision"] == "float32", "16 pixels are too few for bfloat16 to pay"
            assert said["share_of_bare_rate"] == pytest.approx(
                said["images_per_s"] / said["bare_images_per_s"], rel=0.02
            )


def test_a_figure_has_a_panel_for_each_size_that_was_varied():
    def row(seconds, stage="svi_step", **sizes):
        return Row(stage, {**TaskCase().params(), **sizes}, seconds, "pyro_free", seconds / 2, 1e-5)

    rows = [row(0.01), row(0.02, D=640), row(0.03, K=5), row(0.03, K=10), row(0.5, "evaluate", tasks=100)]
    figure = growth(rows, "title")
    assert [axes.get_title() for axes in figure.axes] == ["SVI step: features D", "SVI step: steps K"]
    ours = {axes.get_title()[-1]: axes.lines[0].get_xydata().tolist() for axes in figure.axes}
    assert ours == {"D": [[256, 0.01], [640, 0.02]], "K": [[3, 0.01], [5, 0.03], [10, 0.03]]}
    assert growth(rows[:1], "title") is None


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"stages": "svi"}, "svi_step"),
        ({"stages": ""}, "svi_step"),
        ({"backbones": "c65f"}, "c64f"),
        ({"threads": 0}, "--threads 0"),
        ({"seconds": -1.0}, "--seconds"),
        ({"device": "tpu"}, "tpu"),
        ({"json": Path("bench.txt")}, ".json"),
        ({"json": Path(".")}, "folder"),
    ],
)
def test_bad_input_is_one_line(wrong, word, capsys):
    settings = BenchmarkSettings(**{"device": "cpu", **wrong})
    with pytest.raises(InputError, match=word):
        settings.checked()
    assert run_command(benchmark, settings) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
