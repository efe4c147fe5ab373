"""No command needs torch to show help, to refuse what it can know to be wrong, or to print tables of results."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_sib.backbones import BACKBONES
from pyro_sib.experiments.benchmark import STAGES
from pyro_sib.inference import LEARNERS
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.learner import Learner
from pyro_sib.inference.settings.training import OBJECTIVES
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS
from pyro_sib.models import PRIORS
from pyro_sib.on_demand import imported
from pyro_sib.source import declared
from tests.experiments.records import write

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem != "__init__")
HEAVY = ("torch", "pyro", "numpy", "scipy", "matplotlib", "arviz", "rich", "PIL", "h5py")
_RUN_ALL = """
import contextlib, io, json, runpy, sys
heavy, lines = json.loads(sys.argv[1])
found = []
for line in lines:
    sys.argv = line
    said, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        try:
            runpy.run_module(f"experiments.{line[0]}", run_name="__main__")
        except SystemExit as end:
            code = end.code
    new = [name for name in heavy if name in sys.modules]
    found.append({"code": code, "out": said.getvalue(), "err": errors.getvalue(), "imported": new})
print(json.dumps(found))
"""


def ended(*lines: list[str]) -> list[dict]:
    """How each command line ends, one after another in a fresh process, and what has been imported by then."""
    given = json.dumps([HEAVY, lines])
    command = [sys.executable, "-c", _RUN_ALL, given]
    found: list[dict] = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
    return found


def test_help_imports_nothing_heavy():
    for command, end in zip(COMMANDS, ended(*([command, "--help"] for command in COMMANDS)), strict=True):
        assert (end["code"], end["imported"]) == (0, []), command
        assert f"experiments.{command}" in end["out"]


def test_tables_of_results_import_nothing_heavy(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b", guide="maml", setting="standard", shots=5)
    lines = [["report", str(tmp_path)], ["sweep", str(tmp_path / "a")], ["ablate", "--list"]]
    for line, end in zip(lines, ended(*lines), strict=True):
        assert (end["code"], end["imported"], end["err"]) == (0, [], ""), line
        assert {"report": "55.20", "sweep": "55.20", "ablate": "maml-first-order"}[line[0]] in end["out"]


def test_what_is_wrong_is_said_before_anything_heavy_is_imported(tmp_path):
    """What the command line says and files of settings hold, not what the data are like."""
    nowhere, out = str(tmp_path / "none"), ["--out", str(tmp_path / "out")]
    cases = {
        "--setting is missing": ["run", *out],
        "unknown guide 'x'": ["run", "--setting", "standard", "--guide", "x", *out],
        "unknown prior 'x'": ["run", "--setting", "standard", "--prior", "x", *out],
        "unknown --schedule 'x'": ["run", "--setting", "standard", "--schedule", "x", *out],
        "unknown query balance 'x'": ["run", "--setting", "standard", "--query-balance", "x", *out],
        "cannot serve --setting lwof": ["run", "--setting", "lwof", "--guide", "matching", *out],
        "global serves one number": [
            *("run", "--setting", "standard", "--train-ways", "7", "--initializer", "global", *out)
        ],
        "no learner": ["run", "--learner", nowhere, *out],
        "no feature network": ["run", "--setting", "standard", "--network", nowhere, *out],
        "lite0 takes pictures of 32": [
            *("run", "--setting", "standard", "--network", "lite0", "--image-size", "16", *out)
        ],
        "--network lite0 is used as it is": [
            *("run", "--setting", "standard", "--network", "lite0", "--tune-features", *out)
        ],
        "--learner mini-imagenet-c128f-1shot takes images": [
            *("run", "--learner", "mini-imagenet-c128f-1shot", "--features", nowhere, *out)
        ],
        "unknown initializer 'x'": ["ablate", "--initializers", "support,x", *out],
        "--ways 1": ["compare", "--comparators", "soft-k-means", "--ways", "1", *out],
        "unknown comparator 'x'": ["compare", "--comparators", "x", *out],
        "unknown stage 'x'": ["benchmark", "--stages", "x"],
        "unknown device 'x'": ["benchmark", "--device", "x"],
        "unknown synthetic gradient 'x'": ["reproduce", "--synthetic-gradient", "x", *out],
        "--queries 0": ["regression", "--queries", "0", *out],
        "no method 'x'": ["sbc", "--methods", "x", *out],
        "holds no run": ["diagnose", nowhere, *out],
        "none holds no run": ["gold", nowhere, *out],
        "no run (no config.json)": ["calibrate", nowhere, *out],
        "(no config.json)": ["blend", nowhere, nowhere, "--fit-on", nowhere, nowhere, *out],
        "--labeled": ["classify", "--labeled", nowhere, "--unlabeled", str(tmp_path), *out],
        "--learner nobody": [
            *("classify", "--labeled", str(tmp_path), "--unlabeled", str(tmp_path), "--learner", "nobody", *out)
        ],
        "--domains and --features are both missing": ["domains", *out],
        "none does not exist": ["domains", "--domains", nowhere, *out],
        "unknown method 'x'": ["domains", "--features", nowhere, "--methods", "x", *out],
        "--shots 'x'": ["domains", "--features", nowhere, "--shots", "x", *out],
        "none": ["report", nowhere],
    }
    for (says, line), end in zip(cases.items(), ended(*cases.values()), strict=True):
        assert (end["code"], end["err"].count("\n")) == (2, 1), (line, end["err"])
        assert {*end["imported"]} <= {"numpy"}, line  # which a learner's file is opened with
        assert says in end["err"]
    assert not (tmp_path / "out").exists()


TRAITS = [name for name, value in vars(Learner).items() if isinstance(value, int | str | None) and name[0] != "_"]


@pytest.mark.parametrize("registry", [LEARNERS, INITIALIZERS, SYNTHETIC_GRADIENTS, PRIORS])
def test_what_a_source_declares_is_what_the_class_has(registry):
    assert {"oracle", "serves_joint", "fixed_ways", "fixed_steps", "takes_initializer"} < {*TRAITS}
    for name, part in registry.items():
        for trait in (*TRAITS, "needs_base_classes"):
            assert registry.declared(name, trait) == getattr(part, trait, None), (name, trait)
        first = (registry.declared(name, "__doc__") or "").split("\n")[0]
        assert first == (part.__doc__ or "").strip().split("\n")[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_work_of_every_command_is_there(command):
    """It is named by its home, which no type checker sees."""
    text = (ROOT / "experiments" / f"{command}.py").read_text()
    homes = re.findall(r'"([\w.]+:\w+)"', text.partition("def main")[2])
    assert homes or command in ("report", "sweep")
    for home in homes:
        assert callable(imported(home))


@pytest.mark.parametrize("registry", [BACKBONES, OBJECTIVES, STAGES])
def test_every_other_part_is_there(registry):
    assert all(callable(part) for part in registry.values())


def test_names_are_looked_for_without_the_parts():
    assert "sib" in LEARNERS
    assert "x" not in LEARNERS
    assert next(iter(LEARNERS)) == "sib"
    assert len(LEARNERS) == len(LEARNERS.homes)
    with pytest.raises(KeyError):
        LEARNERS["x"]
    with pytest.raises(KeyError):
        LEARNERS.declared("x", "oracle")


def test_a_class_without_sources_is_asked_itself():
    assert declared("json", "JSONEncoder", "item_separator") == ", "
    assert declared("json", "JSONEncoder", "nothing", 3) == 3
