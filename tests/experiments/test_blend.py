"""The blend command from end to end on small features."""

from dataclasses import replace

import pytest

from experiments.blend import BlendSettings, blend
from experiments.run import run
from pyro_sib.errors import InputError
from pyro_sib.files import read_json
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
        plain = BlendSettings((even, uneven), tuple(held), fit_tasks=20, out=tmp_path / "blend", cache_dir=cache)
        return replace(plain, **changes)

    return settings


def test_a_blend_is_evaluated_on_both_balances(runs, settings_for):
    settings = settings_for(runs)
    result = blend(settings)
    assert read_json(settings.out / "result.json") == result
    lines = (settings.out / "tasks.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * result["tasks"]
    assert {line.split(",")[0] for line in lines[1:]} == {"posterior", "posterior dirichlet:2"}
    assert result["second"]["query_balance"] == "dirichlet:2"


def test_a_gate_that_is_always_open_gives_the_even_run(runs, settings_for, monkeypatch):
    from experiments import blend as command
    from inference.gate import Gate

    monkeypatch.setattr(command, "fit_gate", lambda *a: Gate(100.0, 0.0))
    result = blend(settings_for(runs))
    even = read_json(runs[0] / "result.json")
    assert result["metrics"]["novel"] == even["metrics"]["novel"]
    assert result["second"]["metrics"]["novel"] == even["second"]["metrics"]["novel"]


def test_the_gate_is_fitted_on_the_classes_held_out(runs, settings_for, monkeypatch):
    from experiments import blend as command
    from experiments.blend import _predicted

    seen = []
    monkeypatch.setattr(command, "_predicted", lambda backs, *rest: seen.append(backs) or _predicted(backs, *rest))
    blend(settings_for(runs))
    fitted, evaluated = seen[0][0], seen[-1][0]
    assert fitted.settings.hold_out_classes == 3
    names = [set(back.sources["evaluate"].sampler.novel.class_names) for back in (fitted, evaluated)]
    assert not names[0] & names[1]
    assert not names[0] & set(fitted.ground.bank.split("base_train").class_names)


def test_what_cannot_be_blended_is_refused(runs, settings_for, small):
    with pytest.raises(InputError, match="held no classes out"):
        blend(settings_for([*runs[:2], *runs[:2]]))
    with pytest.raises(InputError, match=r"has other settings .*\(train_query_balance\)"):
        blend(settings_for([*runs[:2], *reversed(runs[2:])]))
    with pytest.raises(InputError, match="--fit-tasks 1: 2 or more"):
        blend(settings_for(runs, fit_tasks=1))
    plain = small.out.parent / "plain"
    run(replace(small, out=plain))
    with pytest.raises(InputError, match="tasks of one balance; run it with --second-balance"):
        blend(settings_for([plain, *runs[1:]]))
