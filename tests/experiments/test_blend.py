"""The blend command from end to end on small features."""

import csv
from dataclasses import replace

import pytest
import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.blend import BlendSettings
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.trust.blend import blend
from pyro_sib.scores.metrics import score
from tests.experiments.test_run import small_settings


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return replace(small_settings(tmp_path_factory.mktemp("blend")), setting="standard", compare=False)


@pytest.fixture(scope="module")
def runs(small):
    """Folders: even, uneven, and the same two with classes held out."""
    like = replace(small, second_balance="dirichlet:2")
    found = {}
    for held in (None, 3):
        for balance in ("balanced", "mixed:2"):
            out = small.out.parent / f"{balance[:5]}-{held}"
            run(replace(like, train_query_balance=balance, hold_out_classes=held, out=out))
            found[balance, held] = out
    return [found[balance, held] for held in (None, 3) for balance in ("balanced", "mixed:2")]


@pytest.fixture
def settings_for(tmp_path):
    def settings(runs, **changes):
        even, uneven, *held = runs
        cache = even.parent / "cache"
        names = [str(folder) for folder in (even, uneven, *held)]
        pairs = (names[0], names[1]), (names[2], names[3])
        plain = BlendSettings(*pairs, fit_tasks=20, out=tmp_path / "blend", cache_dir=cache)
        return replace(plain, **changes)

    return settings


def test_a_blend_is_evaluated_on_both_balances(runs, settings_for):
    settings = settings_for(runs)
    result = blend(settings)
    assert Result.read(settings.out / "result.json") == result
    lines = (settings.out / "tasks.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * result.tasks
    assert {line.split(",")[0] for line in lines[1:]} == {"posterior", "posterior dirichlet:2"}
    assert result.second.query_balance == "dirichlet:2"
    assert result.blended_methods["train_query_balance"] == "balanced | mixed:2"
    assert "guide" not in result.blended_methods


def test_a_gate_that_is_always_open_gives_the_even_run(runs, settings_for, monkeypatch):
    from pyro_sib.experiments.trust import blend as command
    from pyro_sib.inference.gate import LogisticGate

    monkeypatch.setattr(command, "fit_gate", lambda *a: LogisticGate(100.0, 0.0))
    result = blend(settings_for(runs))
    even = Result.read(runs[0] / "result.json")
    assert result.metrics["novel"] == even.metrics["novel"]
    assert result.second.metrics["novel"] == even.second.metrics["novel"]


def test_a_test_of_evenness_takes_each_task_to_one_run_or_the_other(runs, settings_for):
    settings = settings_for(runs, false_alarms=0.1)
    result = blend(settings)
    assert result.gate["kind"] == "EvennessTest"
    blended, even, uneven = (_novel(folder) for folder in (settings.out, *runs[:2]))
    assert blended != even
    assert blended != uneven
    assert all(b in pair for b, *pair in zip(blended, even, uneven, strict=True))


def test_the_predictions_of_several_runs_are_averaged(runs, settings_for, monkeypatch):
    from pyro_sib.experiments.trust import blend as command
    from pyro_sib.inference.gate import LogisticGate

    monkeypatch.setattr(command, "fit_gate", lambda *a: LogisticGate(100.0, 0.0))
    shown = []
    monkeypatch.setattr(command, "score", lambda p, *rest: shown.append(p) or score(p, *rest))
    even, uneven, *held = map(str, runs)
    plain = settings_for(runs)
    for number, group in enumerate((even, uneven, f"{even}, {uneven}")):
        count = 1 + group.count(",")
        fit_on = ",".join([held[0], held[1]][:count] if group != uneven else [held[1]])
        blend(replace(plain, runs=(group, uneven), fit_on=(fit_on, held[1]), out=plain.out.parent / f"b{number}"))
    alone, other, both = (shown[i : i + 2] for i in (0, 2, 4))
    for a, b, mean in zip(alone, other, both, strict=True):
        torch.testing.assert_close(mean, (a + b) / 2)
    with pytest.raises(InputError, match="--fit-on names 1 runs for 2; name one for each, in order"):
        blend(replace(plain, runs=(f"{even},{uneven}", uneven)))
    with pytest.raises(InputError, match="' , ' names no run; give a folder"):
        blend(replace(plain, runs=(" , ", uneven)))


def _novel(folder):
    with (folder / "tasks.csv").open() as file:
        return [row["novel"] for row in csv.DictReader(file) if row["prediction"].startswith("posterior")]


def test_the_gate_is_fitted_on_the_classes_held_out(runs, settings_for, monkeypatch):
    from pyro_sib.experiments.trust import blend as command
    from pyro_sib.experiments.trust.blend import _predicted

    seen = []
    monkeypatch.setattr(command, "_predicted", lambda backs, *rest: seen.append(backs) or _predicted(backs, *rest))
    blend(settings_for(runs))
    fitted, evaluated = seen[0][0][0], seen[-1][0][0]
    assert fitted.settings.hold_out_classes == 3
    names = [set(back.sources["evaluate"].sampler.novel.class_names) for back in (fitted, evaluated)]
    assert not names[0] & names[1]
    assert not names[0] & set(fitted.ground.bank.split("base_train").class_names)


def test_runs_with_other_classes_held_out_are_not_fitted_on(runs, settings_for, small):
    out = small.out.parent / "other-held"
    like = replace(small, second_balance="dirichlet:2", train_query_balance="mixed:2", hold_out_classes=4, out=out)
    run(like)
    with pytest.raises(InputError, match="have other data, classes held out or splits"):
        blend(settings_for([*runs[:3], out]))


def test_what_cannot_be_blended_is_refused(runs, settings_for, small):
    with pytest.raises(InputError, match="held no classes out"):
        blend(settings_for([*runs[:2], *runs[:2]]))
    with pytest.raises(InputError, match=r"has other settings .*\(train_query_balance\)"):
        blend(settings_for([*runs[:2], *reversed(runs[2:])]))
    with pytest.raises(InputError, match="--fit-tasks 1: 2 or more"):
        blend(settings_for(runs, fit_tasks=1))
    with pytest.raises(InputError, match=r"--false-alarms 1.5: more than 0 and less than 1 is needed"):
        blend(settings_for(runs, false_alarms=1.5))
    with pytest.raises(InputError, match=r"cannot be told from 20 tasks; raise --fit-tasks to 100"):
        blend(settings_for(runs, false_alarms=0.01))
    other = small.out.parent / "uneven"
    run(replace(small, query_balance="dirichlet:2", second_balance="dirichlet:4", out=other))
    with pytest.raises(InputError, match="--false-alarms is a share of balanced tasks"):
        blend(settings_for([other, *runs[1:]], false_alarms=0.1))
    plain = small.out.parent / "plain"
    run(replace(small, out=plain))
    with pytest.raises(InputError, match="tasks of one balance; run it with --second-balance"):
        blend(settings_for([plain, *runs[1:]]))
