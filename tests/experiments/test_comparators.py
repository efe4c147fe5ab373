"""The published transductive methods: what they are given, one suite for all of them, and the command."""

import sys
from dataclasses import fields, replace
from importlib.util import find_spec

import pytest
import torch

from pyro_sib.data import read_features
from pyro_sib.data.names import BASE_TRAIN, BASE_VAL
from pyro_sib.errors import InputError
from pyro_sib.experiments import compare as compare_command
from pyro_sib.experiments.ablate import AblateSettings
from pyro_sib.experiments.compare import CompareSettings
from pyro_sib.experiments.comparison import compare as compare_module
from pyro_sib.experiments.comparison.base_classes import BaseClasses
from pyro_sib.experiments.comparison.comparators import Comparator, choose
from pyro_sib.experiments.comparison.compare import base_tasks, compare
from pyro_sib.experiments.comparison.preprocessing import centred_and_shifted, on_sphere, power_centred
from pyro_sib.experiments.comparison.recipes import COMPARATORS, comparators_named
from pyro_sib.experiments.comparison.row import read_rows
from pyro_sib.experiments.comparison.table import markdown
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.report import report
from pyro_sib.inference.evaluation import evaluate
from pyro_sib.tasks.episodes import EpisodeSampler, task_key
from pyro_sib.tasks.shape import EpisodeShape
from pyro_sib.tasks.source import TaskSource
from pyro_sib.types import Evidence
from tests.experiments.test_run import write_features
from tests.worlds import clusters

needs_easyfsl = pytest.mark.skipif(
    find_spec("easyfsl") is None, reason="easyfsl is not installed: uv sync --extra comparators"
)
NAMES = [
    pytest.param(name, marks=[needs_easyfsl] if recipe.needs_easyfsl else [])
    for name, recipe in COMPARATORS.items()
]
FIRST = {name: recipe.candidates()[0] for name, recipe in COMPARATORS.items()}


def _source(spread: float = 1.4) -> tuple[TaskSource, BaseClasses]:
    """5-way 1-shot tasks on clusters of 16 features, and the clusters."""
    split = clusters(12, 30, seed=5, features=16, spread=spread)
    sampler = EpisodeSampler(split, None, EpisodeShape(5, 1, 10), task_key("comparators", 0, "evaluate"))
    return TaskSource(sampler, split.x, None), BaseClasses(split, torch.device("cpu"))


class _NearestMean(Comparator):
    def __init__(self):
        torch.nn.Module.__init__(self)

    def probabilities(self, evidence: Evidence, draws: int, iterates=(-1,)):
        support, query = on_sphere(evidence.support_x, evidence.query_x)
        return [(-10 * torch.cdist(query, evidence.class_means(support)).square()).softmax(-1)]


def _with(evidence: Evidence, **changes) -> Evidence:
    """Other features, not looked at."""
    return Evidence.trusted(**{f.name: getattr(evidence, f.name) for f in fields(Evidence)} | changes)


@pytest.mark.parametrize("name", NAMES)
class TestConformance:
    def test_it_is_no_worse_than_the_nearest_class_mean(self, name):
        source, base = _source()
        best, tried = choose(name, base, source, 15)
        ours = evaluate(best, source, 15)[0].novel.mean()
        assert ours >= evaluate(_NearestMean(), source, 15)[0].novel.mean()
        assert ours > 40  # chance is 20
        assert ours == pytest.approx(max(record["accuracy"] for record in tried), abs=1e-2)

    def test_probabilities_are_normalized_and_batches_do_not_mix(self, name):
        source, base = _source()
        comparator = Comparator(name, base, FIRST[name])
        (whole,) = comparator.probabilities(source.episodes(torch.arange(4)).evidence, 0)
        assert whole.shape == (4, 50, 5)
        torch.testing.assert_close(whole.sum(-1), torch.ones(4, 50))
        for task in range(4):
            (one,) = comparator.probabilities(source.episodes(torch.tensor([task])).evidence, 0)
            torch.testing.assert_close(one[0], whole[task], rtol=1e-4, atol=1e-5)

    def test_permuting_the_queries_permutes_their_predictions(self, name):
        source, base = _source()
        comparator = Comparator(name, base, FIRST[name])
        evidence = source.episodes(torch.arange(3)).evidence
        order = torch.randperm(evidence.queries)
        moved = replace(evidence, query_x=evidence.query_x[:, order])
        (a,), (b,) = comparator.probabilities(evidence, 0), comparator.probabilities(moved, 0)
        torch.testing.assert_close(a[:, order], b, rtol=1e-3, atol=1e-4)

    def test_it_permutes_with_the_classes(self, name):
        source, base = _source()
        comparator = Comparator(name, base, FIRST[name])
        evidence = source.episodes(torch.arange(3)).evidence
        order = torch.tensor([2, 0, 4, 1, 3])
        moved = replace(evidence, support_y=order[evidence.support_y])
        (a,), (b,) = comparator.probabilities(evidence, 0), comparator.probabilities(moved, 0)
        torch.testing.assert_close(b[..., order], a, rtol=1e-3, atol=1e-4)

    def test_query_labels_are_out_of_reach_and_the_generator_is_left_alone(self, name):
        source, base = _source()
        comparator = Comparator(name, base, FIRST[name])
        assert type(comparator.sees(source.episodes(torch.arange(2)))) is Evidence
        before = torch.get_rng_state()
        evaluate(comparator, source, 2)
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("scale", [1e-2, 1e3])
    def test_the_scale_of_the_features_does_not_matter(self, name, scale):
        source, base = _source()
        evidence = source.episodes(torch.arange(3)).evidence
        (a,) = Comparator(name, base, FIRST[name]).probabilities(evidence, 0)
        scaled = replace(evidence, support_x=scale * evidence.support_x, query_x=scale * evidence.query_x)
        scaled_base = replace(base, split=base.split.with_x(scale * base.split.x))
        (b,) = Comparator(name, scaled_base, FIRST[name]).probabilities(scaled, 0)
        assert (a.argmax(-1) == b.argmax(-1)).float().mean() > 0.99

    def test_features_that_are_no_numbers_are_named(self, name):
        source, base = _source()
        evidence = source.episodes(torch.arange(1)).evidence
        broken = _with(evidence, query_x=torch.full_like(evidence.query_x, float("nan")))
        with pytest.raises(InputError, match=f"{name} gives no numbers"):
            Comparator(name, base, FIRST[name]).probabilities(broken, 0)


@needs_easyfsl
def test_pt_map_gives_each_class_as_many_queries():
    source, base = _source()
    (p,) = Comparator("pt-map", base, {"power": 1.0}).probabilities(source.episodes(torch.arange(3)).evidence, 0)
    torch.testing.assert_close(p.sum(1), torch.full((3, 5), 10.0), rtol=1e-3, atol=1e-3)


@needs_easyfsl
@pytest.mark.slow
@pytest.mark.parametrize("temperature", COMPARATORS["tim"].grid["temperature"])
def test_tims_steps_do_as_well_as_its_published_ones(temperature):
    source, base = _source()
    accuracies = []
    for steps in ({}, {"fine_tuning_steps": 1000, "fine_tuning_lr": 1e-4}):
        comparator = Comparator("tim", base, {"temperature": temperature})
        comparator.method = COMPARATORS["tim"].make(base, **{**comparator.settings, **steps})
        accuracies.append(evaluate(comparator, source, 20)[0].novel.mean())
    assert accuracies[0] == pytest.approx(accuracies[1], abs=1.5)


def test_preprocessing_as_published():
    support, query = torch.randn(2, 5, 8), torch.randn(2, 30, 8)
    for x in on_sphere(support, query):
        torch.testing.assert_close(x.norm(dim=-1), torch.ones(x.shape[:2]))
    s, q = centred_and_shifted(support, query, torch.ones(8))
    torch.testing.assert_close(s.norm(dim=-1), torch.ones(2, 5))
    torch.testing.assert_close(s.mean(1), q.mean(1))
    for power in (0.5, 1.0):
        for x in power_centred(support, query, power):
            torch.testing.assert_close(x.norm(dim=-1), torch.ones(x.shape[:2], dtype=torch.float64))
    positive = support.abs() + 0.1
    unit = positive.double().sqrt() / positive.double().sqrt().norm(dim=-1, keepdim=True)
    expected = unit - unit.mean(1, keepdim=True)
    expected = expected / expected.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(power_centred(positive, query, 0.5)[0], expected, rtol=1e-4, atol=1e-4)


def test_without_easyfsl_one_line_says_how_to_get_it(monkeypatch, capsys):
    for name in ("easyfsl", "easyfsl.methods"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="uv sync --extra comparators"):
        comparators_named("tim")
    monkeypatch.setattr(sys, "argv", ["compare"])
    assert compare_command.main() == 2
    stderr = capsys.readouterr().err
    needing = "bd-cspn, laplacian-shot, tim, pt-map"
    assert stderr.startswith(f"error: the comparators {needing} need the package easyfsl; run `uv sync --extra")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("names", ["tim,x", "", " , "])
def test_unknown_comparators_are_refused_with_the_known_ones(names):
    with pytest.raises(InputError, match=r"unknown comparator .*; choose of bd-cspn, laplacian-shot, tim, pt-map"):
        comparators_named(names)


def test_settings_are_chosen_on_base_classes_that_f_was_not_trained_on(tmp_path):
    like = RunSettings(setting="standard", ways=3, queries=4).resolved()
    device = torch.device("cpu")
    many = read_features(write_features(tmp_path / "many.npz", rows=60))
    assert base_tasks(many, like, device).sampler.novel is many.split(BASE_VAL)
    few = read_features(write_features(tmp_path / "few.npz", rows=24))
    assert base_tasks(few, like, device).sampler.novel is few.split(BASE_TRAIN)


@pytest.fixture
def small(tmp_path) -> CompareSettings:
    return CompareSettings(
        comparators="bd-cspn,laplacian-shot",
        features=write_features(tmp_path / "features.npz", rows=40),
        ways=3,
        queries=4,
        choose_tasks=4,
        eval_tasks=20,
        second_balance="dirichlet:2",
        out=tmp_path / "comparators",
        cache_dir=tmp_path / "cache",
    )


@needs_easyfsl
def test_the_command_leaves_results_beside_ours_on_the_same_tasks(small, tmp_path):
    results = compare(small)
    for name, result in zip(("bd-cspn", "laplacian-shot"), results, strict=True):
        folder = small.out / name
        assert Result.read(folder / "result.json") == result
        assert result.guide == name
        assert result.prior is result.kl_weight is result.iterations is None
        assert len(result.chosen.tried) == len(COMPARATORS[name].candidates())
        lines = (folder / "tasks.csv").read_text().splitlines()
        assert [
            sum(line.startswith(f"{p},") for line in lines) for p in ("posterior", "posterior dirichlet:2")
        ] == [
            20,
            20,
        ]
    ours = RunSettings(
        setting="standard",
        features=small.features,
        ways=3,
        queries=4,
        iterations=8,
        epochs=2,
        select_tasks=4,
        eval_tasks=20,
        draws=2,
        compare=False,
        second_balance="dirichlet:2",
        out=tmp_path / "ours",
        cache_dir=small.cache_dir,
    )
    run(ours)
    rows = read_rows([tmp_path / "ours", small.out])
    assert [row.method["guide"] for row in rows] == ["sib", "bd-cspn", "laplacian-shot"]
    assert all(row.difference is not None and row.second_difference is not None for row in rows[1:])
    assert "laplacian-shot" in markdown(rows)
    text = report([tmp_path])
    assert "bd-cspn" in text
    assert "SIB K=3" in text
    assert AblateSettings().beside == ()
    compare(replace(small, comparators="bd-cspn", eval_tasks=10, out=tmp_path / "other"))


@needs_easyfsl
def test_evaluation_tasks_are_those_of_a_run(small):
    from pyro_sib.experiments.job.tasks import make_sources

    data = read_features(small.features)
    device = torch.device("cpu")
    theirs = make_sources(data, small.cells()[0].run_settings(), "test", device)["evaluate"].episodes(
        torch.arange(5)
    )
    like = RunSettings(setting="standard", features=small.features, ways=3, queries=4, prior="mixture", seed=3)
    ours = make_sources(data, like.resolved(), "test", device)["evaluate"].episodes(torch.arange(5))
    assert torch.equal(theirs.evidence.query_x, ours.evidence.query_x)
    assert torch.equal(theirs.evidence.support_x, ours.evidence.support_x)


@needs_easyfsl
def test_a_finished_comparator_is_not_run_again_and_other_settings_are_refused(small, monkeypatch):
    first = compare(small)
    monkeypatch.setattr(compare_module, "choose", None)
    assert compare(small) == first
    with pytest.raises(InputError, match="other settings"):
        compare(replace(small, eval_tasks=10))


@needs_easyfsl
def test_results_of_other_tasks_are_not_paired(small, tmp_path):
    compare(replace(small, comparators="bd-cspn"))
    other = write_features(tmp_path / "other.npz", rows=41)
    compare(replace(small, comparators="bd-cspn", features=other, out=tmp_path / "other"))
    with pytest.raises(InputError, match=r"other tasks or features \(fingerprint\)"):
        read_rows([small.out, tmp_path / "other"])
