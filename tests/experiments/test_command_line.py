"""Every command's options are its settings' fields, shown by subject, with the names of all registered parts."""

import contextlib
import importlib
import io
import re
import subprocess
import sys
from collections import Counter
from dataclasses import MISSING, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar

import pytest
import tyro

from pyro_sib.backbones import BACKBONES
from pyro_sib.errors import InputError
from pyro_sib.experiments.ablate import AblateSettings, cells
from pyro_sib.experiments.comparison.catalogue import catalogue
from pyro_sib.experiments.job.config import claim_folder, config_of, read_settings
from pyro_sib.experiments.job.device import choose_device
from pyro_sib.experiments.job.limits import limit_of
from pyro_sib.experiments.job.settings import Job, RunSettings
from pyro_sib.experiments.options.alike import alike
from pyro_sib.experiments.options.names import explained, lines, listed
from pyro_sib.experiments.reproduce import ReproduceSettings, rows
from pyro_sib.experiments.sampling.sbc_settings import SBCJob, SBCSettings
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.features.network_card import SHIPPED
from pyro_sib.files import read_json, write_json
from pyro_sib.inference import LEARNERS
from pyro_sib.inference import learner_file as learners
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.settings.training import OBJECTIVES, SCHEDULES
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS
from pyro_sib.models import PRIORS
from pyro_sib.on_demand import Registry

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(p.stem for p in (ROOT / "experiments").glob("*.py") if p.stem != "__init__")


@cache
def kind_of(command: str) -> type:
    """The settings that a command asks the command line for, under its own name."""
    module, asked = importlib.import_module(f"pyro_sib.experiments.{command}"), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "from_command_line", lambda *given: asked.append(given) or sys.exit())
        with pytest.raises(SystemExit):
            module.main()
    ((kind, name),) = asked
    assert name == command
    return kind


@cache
def help_of(kind: type) -> dict[str, str]:
    """Text of each box of the help, by its title."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", ["x", "--help"])
        patch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit):
            from_command_line(kind, "x")
    plain = re.sub(r"[│╭╮╰╯─]|-{5,}", " ", said.getvalue())
    parts = re.split(r"^ *((?:\w+ )*(?:options|positional arguments)) *$", plain, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def heads(text: str) -> list[str]:
    """Options that begin a line of help."""
    return re.findall(r"^ {1,3}(?:-h, )?--([a-z0-9-]+)", text, re.MULTILINE)


def given(monkeypatch, kind, *words):
    """The settings by these words of a command line."""
    monkeypatch.setattr(sys, "argv", ["x", *words])
    return from_command_line(kind, "x")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_an_option_with_help(command):
    kind, found = kind_of(command), help_of(kind_of(command))
    options = [one for title, text in found.items() if title.endswith("options") for one in heads(text)]
    assert max(Counter(options).values()) == 1
    named = {one.name.replace("_", "-") for one in fields(kind)}
    positional = {"run", "runs"} if "positional arguments" in found else set()
    assert {*options} - {"help"} == named - positional
    for text in found.values():
        assert not re.search(r"^ {2,3}--\S+( \S+)?\s+\(default", text, re.MULTILINE), "an option without a word"


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_command_line_is_the_defaults(command, monkeypatch):
    kind = kind_of(command)
    if all(one.default is not MISSING for one in fields(kind)):
        assert given(monkeypatch, kind) == kind()


def test_help_that_nobody_reads_to_its_end_is_no_error():
    command = [sys.executable, "-m", "experiments.ablate", "--help"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        run.stdout.close()
        assert run.stderr.read() == b""
        assert run.wait() == 141


def test_subjects_have_titles_of_their_own():
    run = help_of(RunSettings)
    assert [title.removesuffix(" options") for title in run] == [
        *("options", "task", "data", "feature network", "learner", "training", "evaluation", "machine")
    ]
    assert heads(run["options"]) == ["help", "out"]
    assert {"setting", "ways", "query-balance"} <= {*heads(run["task options"])}
    assert "kl-weight" in heads(run["learner options"])
    shared = {"task options": "ways", "data options": "data-root", "training options": "iterations"}
    for title, option in shared.items():
        assert option in heads(help_of(AblateSettings)[title]), "wherever a default is its own, too"


def test_options_reach_their_fields(monkeypatch):
    words = "--setting lwof --kl-weight 0 --no-compare --out there --novel-share 1 2 --threads 2 --data folders"
    expected = RunSettings(
        *("lwof",), kl_weight=0.0, compare=False, out=Path("there"), novel_share=(1, 2), threads=2, data="folders"
    )
    assert given(monkeypatch, RunSettings, *words.split()) == expected
    assert given(monkeypatch, AblateSettings, "--image-size", "84").image_size == 84
    with pytest.raises(SystemExit):
        given(monkeypatch, AblateSettings, "--image-size", "None")


@pytest.mark.parametrize(
    ("command", "words", "line"),
    [
        ("run", "--shot 3", "--shot 3: there is no such option; perhaps --shots was meant; --help lists all"),
        ("run", "lwof", "lwof: there is no such option; --help lists all"),
        ("run", "--setting wrong", "--setting wrong: choose lwof or standard"),
        ("run", "--eval-tasks 1.5", "--eval-tasks 1.5: a whole number is needed"),
        ("run", "--kl-weight x", "--kl-weight x: a number is needed"),
        ("run", "--shots", "--shots: its value is missing; give one behind it"),
        ("domains", "--ways 5 x", "--ways x: whole numbers are needed"),
        ("domains", "--ways 5 1.5", "--ways 1.5: whole numbers are needed"),
        ("ablate", "--guide maml", "--guide maml: there is no such option; perhaps --guides was meant; --help .*"),
        ("classify", "--labeled here", "--unlabeled is missing; --help says what to give"),
        ("gold", "", "PATH is missing; --help says what to give"),
    ],
)
def test_what_the_parser_refuses_is_one_line(command, words, line, monkeypatch, capsys):
    with pytest.raises(SystemExit) as ended:
        given(monkeypatch, kind_of(command), *words.split())
    assert ended.value.code == 2
    assert re.fullmatch(f"error: {line}\n", capsys.readouterr().err)


@pytest.mark.parametrize("columns", ["30", "200"])
@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_named_by_every_command(command, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        given(monkeypatch, kind_of(command), "--nosuch-option", "1")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.match("error: (--nosuch-option 1: there is no such option|.* missing; )", said)


@dataclass(frozen=True)
class Pair:
    """A subject."""

    group: ClassVar[str] = "pair"
    left: int = 1
    """Of the left
    hand."""
    right: Annotated[
        str,
        tyro.conf.arg(metavar="SIDE"),
        explained("Of the right.", Registry({"one": "pyro_sib.experiments.job.settings:Job"})),
    ] = "a"


@dataclass(frozen=True)
class Both(Pair):
    """A command."""

    left: int = 2
    """Of another hand."""
    own: float = 0.5
    """Its own."""


def test_the_nearest_docstring_has_the_last_word():
    found = {title: " ".join(text.split()) for title, text in help_of(Both).items()}
    assert "--own FLOAT Its own. (default: 0.5)" in found["options"]
    assert found["pair options"].startswith("--left INT Of another hand. (default: 2) --right SIDE Of the right.")
    assert (
        "one: The settings of a run with nothing left open, as `RunSettings.resolved` gives"
        in found["pair options"]
    )


@pytest.mark.parametrize("registry", [LEARNERS, INITIALIZERS, SYNTHETIC_GRADIENTS, PRIORS])
def test_every_part_is_explained(registry):
    said, listing = (" ".join(text.split()) for text in (help_of(RunSettings)["learner options"], catalogue()))
    for name, line in lines(registry):
        assert line
        assert f"{name}: {line}" in said
        assert f"{name} {line}" in listing
        assert re.search(rf"[ ,]{name}[ ,;]", " ".join(help_of(AblateSettings)["options"].split()))


@pytest.mark.parametrize(
    ("title", "registry"),
    [
        ("feature network", BACKBONES),
        ("feature network", SHIPPED),
        ("training", SCHEDULES),
        ("training", OBJECTIVES),
    ],
)
def test_every_name_stands_in_the_help(title, registry):
    said = " ".join(help_of(RunSettings)[f"{title} options"].split())
    assert not [name for name in registry if not re.search(rf"[ ,]{name}[ ,;.]", said)]


def test_learners_that_come_with_the_project_are_named():
    said = " ".join(help_of(RunSettings)["learner options"].split())
    assert all(name in said for name in learners.SHIPPED)


def test_names_in_a_phrase():
    assert listed(("a", "b"), ["c"]) == "a, b or c"
    assert listed(["a"]) == "a"


def test_a_job_has_nothing_open_and_stays_one():
    job = RunSettings("standard").resolved()
    assert type(job) is Job
    assert job.resolved() == job
    assert type(replace(job, kl_weight=0.5)) is Job
    assert replace(job, iterations=100, epochs=5).resolved().iterations == 100
    with pytest.raises(InputError, match="--epochs 30 with --iterations 20"):
        replace(job, iterations=20, epochs=30).resolved()
    with pytest.raises(TypeError, match="iterations"):
        Job(setting="standard")
    assert [one.name for one in fields(Job)] == [one.name for one in fields(RunSettings)]


def test_a_command_keeps_its_limits_once_it_is_resolved():
    assert limit_of(SBCJob, "draws") == limit_of(SBCSettings, "draws")
    with pytest.raises(InputError, match="--draws 3: 19 or more"):
        replace(SBCSettings().resolved(), draws=3).resolved()


def test_settings_alike_are_taken_over():
    like = alike(RunSettings, AblateSettings(ways=7, shots="1,2"), "shots", "steps", "support_gradient", seed=3)
    assert (like.ways, like.shots, like.seed, like.image_size) == (7, 1, 3, 42)


def test_other_commands_take_what_the_reader_finds(tmp_path):
    grid = [*cells(AblateSettings(data_root=tmp_path)), *rows(ReproduceSettings(data_root=tmp_path))]
    assert {one.data for one in grid} == {"folders"}
    assert {one.data for one in cells(AblateSettings())} == {"synthetic"}


def test_mini_imagenet_is_another_name_of_a_folder(tmp_path):
    """A run begun under either name goes on, and is brought back, under the other."""
    job = RunSettings("standard", data="mini-imagenet", data_root=tmp_path).resolved()
    assert config_of(job)["data"] == "folders"
    claim_folder(tmp_path / "run", job)
    claim_folder(tmp_path / "run", replace(job, data="folders"))
    path = tmp_path / "run" / "config.json"
    write_json(path, read_json(path) | {"data": "mini-imagenet"})
    claim_folder(tmp_path / "run", replace(job, data="folders"))
    assert read_settings(path.parent).data == "folders"
    with pytest.raises(InputError, match=r"other settings \(data\)"):
        claim_folder(tmp_path / "run", replace(job, data="synthetic"))


def test_an_unknown_device_is_one_line():
    with pytest.raises(InputError, match="unknown device 'gpu'; choose one of auto, cpu, cuda"):
        choose_device("gpu")
