"""The gold standard's command from end to end on small features."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.config import claim_folder
from pyro_sib.experiments.job.restore import restore
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.sampling import gold as command
from pyro_sib.experiments.sampling.gold import run as gold
from pyro_sib.experiments.sampling.gold_settings import GoldSettings, power_of
from pyro_sib.experiments.sampling.gold_task import elbo
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import read_json
from pyro_sib.inference.divergence import kl_to_prior
from pyro_sib.inference.exact.task_posterior import TaskPosterior
from pyro_sib.inference.guide import as_distribution
from pyro_sib.scores.metrics import score
from pyro_sib.types import GaussianParameters
from tests.experiments.rendering import whole_figures
from tests.experiments.test_run import small, small_settings
from tests.worlds import make_world

__all__ = ["small"]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory) -> tuple[GoldSettings, dict[str, Any]]:
    """A finished run beside NUTS, on two tasks."""
    small = small_settings(tmp_path_factory.mktemp("gold"))
    run(replace(small, setting="standard", compare=False, kl_weight=36.0))
    settings = settings_for(small.out, targets=("objective",))
    with whole_figures():
        return settings, gold(settings)


def settings_for(out: Path, **changes) -> GoldSettings:
    plain = GoldSettings(
        run=out, tasks=2, warmup=20, samples=50, draws=60, out=out.parent / "gold", cache_dir=out.parent / "cache"
    )
    return replace(plain, **changes)


def test_it_puts_the_guide_beside_nuts(sampled):
    settings, result = sampled
    parts = result["summary"]["parts"]
    assert list(parts) == ["objective support", "objective queries"]
    assert parts["objective support"]["power"] == pytest.approx(1 / 3)
    for part in parts.values():
        assert 0 <= part["accuracy"]["mean"] <= 100
        assert -1 <= part["direction_cosine"]["mean"] <= 1
        assert part["gap"] is None or part["gap"]["mean"] > -1
    # The labels of the queries say more of the queries than those of three examples.
    assert parts["objective queries"]["nll"]["mean"] < parts["objective support"]["nll"]["mean"]
    assert {p.name for p in settings.out.iterdir()} == {"gold.json", "gold.png", "tasks"}


def _told(task: dict[str, Any]) -> dict[str, Any]:
    """All that a task's record says but for the time that it took."""
    parts = {name: {n: v for n, v in part.items() if n != "seconds"} for name, part in task["parts"].items()}
    return {**task, "parts": parts}


def test_it_goes_on_where_it_was_and_the_seed_reproduces_every_number(sampled, tmp_path, monkeypatch):
    """Whatever was sampled before in the same process."""
    settings, result = sampled
    settings = replace(settings, out=tmp_path / "gold")
    shutil.copytree(sampled[0].out, settings.out)
    first, second = sorted((settings.out / "tasks").iterdir())
    kept, lost = ({"task": n} | read_json(path) for n, path in enumerate((first, second)))
    first.write_text(json.dumps(kept | {"kept": True}))
    second.unlink()
    tasks, original = [], command.gold_task
    monkeypatch.setattr(command, "gold_task", lambda *args: tasks.append(args[3]) or original(*args))
    again = gold(settings)
    assert tasks == [1]
    assert read_json(first)["kept"]
    assert _told(read_json(second)) == _told(lost)
    summaries = [_told(found["summary"]) for found in (again, result)]
    assert summaries[0] == summaries[1]

    tasks.clear()
    monkeypatch.setattr(command, "gold_task", lambda *args: tasks.append(args[3]) or lost)
    more = gold(replace(settings, tasks=3))
    assert tasks == [2]
    assert more["summary"]["parts"]["objective support"]["nll"]["tasks"] == 3
    tasks.clear()
    gold(replace(settings, seed=1))
    assert tasks == [0, 1], "another seed's tasks are not these"


def test_a_target_is_a_power_of_the_likelihood(small):
    like = replace(small, setting="standard", kl_weight=0.36).resolved()
    powers = [power_of(target, like, 3, (3, 12)) for target in ("literal", "objective", "2.5")]
    assert powers == pytest.approx([1, 1 / (3 * 0.01), 2.5])


@pytest.mark.slow
def test_in_a_joint_run_the_base_classes_compete_at_their_means(small):
    run(replace(small, compare=False, kl_weight=0.36))
    settings = settings_for(small.out)
    found = gold(settings)["summary"]
    back = restore(small.out, Reporter(), small.cache_dir)
    guide, episode = back.program.guide, back.sources["evaluate"].episodes(torch.arange(2))
    point = score(guide.probabilities(episode.evidence, 0)[0], episode.query_y, episode.evidence.base_ids.shape[1])
    # Its draws are about q's mean, closely (initial scale 0.01).
    assert found["guide"]["nll"]["mean"] == pytest.approx(float(point.nll.mean()), abs=0.05)
    support, queries = (found["parts"][f"literal {on}"] for on in ("support", "queries"))
    assert queries["nll"]["mean"] < support["nll"]["mean"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tasks": 1}, "--tasks 1: 2 or more"),
        ({"chains": 1}, "--chains 1: 2 or more is needed for R-hat"),
        ({"samples": 10}, "--samples 10: 50 or more is needed for R-hat and ESS"),
        ({"draws": 10}, "--draws 10"),
        ({"targets": ()}, "name at least one"),
        ({"targets": ("cold",)}, "--targets cold: literal, objective or a positive power"),
        ({"targets": ("-2",)}, "--targets -2"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_run_is_read(small, changes, says):
    """All that there is of it is its configuration."""
    claim_folder(small.out, replace(small, setting="standard", kl_weight=0.36).resolved())
    with pytest.raises(InputError, match=says):
        gold(settings_for(small.out, **changes))


def test_runs_without_a_posterior_are_refused(small, tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        gold(settings_for(tmp_path / "nowhere"))
    plain = replace(small, setting="standard", compare=False)
    run(replace(plain, kl_weight=0.0, out=tmp_path / "point"))
    with pytest.raises(InputError, match="implies no posterior; name --targets literal"):
        gold(settings_for(tmp_path / "point", targets=("objective",)))
    run(replace(plain, guide="prototypical", out=tmp_path / "baseline"))
    with pytest.raises(InputError, match="has no weights w to sample"):
        gold(settings_for(tmp_path / "baseline"))
    (tmp_path / "point" / "learner.safetensors").unlink()
    with pytest.raises(InputError, match="is missing; finish the run"):
        gold(settings_for(tmp_path / "point"))


@pytest.mark.parametrize(("name", "slack"), [("diagonal", 0.0), ("mixture", 0.2)])
def test_the_elbos_kl_is_exact_where_the_closed_form_is_but_a_bound(name, slack):
    world = make_world(name, dtype=torch.float64)
    episode = world.source.episodes(torch.arange(1))
    with torch.no_grad():
        (world.prior.log_scales if name == "mixture" else world.prior.log_scale).zero_()
        theta = GaussianParameters(*torch.zeros(2, 1, 3, 7, dtype=torch.float64))
        q, posterior = as_distribution(theta), TaskPosterior(world.prior, world.likelihood, episode, power=0.0)
        w, others = q.sample((50_000,)), q.sample((50_000,))
        kl = -elbo(posterior, theta, w)
        again = float((q.log_prob(others).sum(-1) - posterior.log_density(others)).mean())
        closed = float(kl_to_prior(world.prior, episode.evidence, theta).sum())
    assert abs(kl - again) < 0.05
    assert kl <= closed - slack
