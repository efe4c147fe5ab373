"""What README and docs quote is there: commands, options, files and names; their code runs."""

import ast
import contextlib
import importlib
import io
import re
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "api").glob("*.md")])
OF_OTHERS = {"--extra", "--from", "--group", "--keep-going", "--only-binary", "--signal"}
"""Options of uv, uvx, Sphinx, pip and timeout."""

_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_COMMAND = re.compile(r"\bexperiments\.([a-z_]+)\b([^\n]*)")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
_LINK = re.compile(r"\]\(([^)\s]+)\)")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def options(command: str) -> frozenset[str]:
    """The options of `python -m experiments.COMMAND`, from its help."""
    module = importlib.import_module(f"pyro_sib.experiments.{command}")
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(sys, "argv", [command, "--help"])
        patch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit):
            module.main()
    heads = re.findall(r"^\W{1,3}(--[^{\n]*)", said.getvalue(), re.MULTILINE)
    return frozenset({"--help", *(option for head in heads for option in _OPTION.findall(head.split("  ")[0]))})


COMMANDS = sorted(path.stem for path in (ROOT / "experiments").glob("*.py") if path.stem != "__init__")


def spoken(text: str) -> list[str]:
    """All that a page says in code: fenced lines, continued ones joined and without comments, and spans."""
    fenced = [line for _, body in _FENCE.findall(text) for line in body.replace("\\\n", " ").splitlines()]
    spans = _SPAN.findall(_FENCE.sub("", text))
    return [re.sub(r"\s#\s.*", "", line) for line in fenced] + [" ".join(span.split()) for span in spans]


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command that a page quotes, with the options behind it."""
    found = (_COMMAND.search(said) for said in spoken(text))
    return [(match[1], _OPTION.findall(match[2])) for match in found if match]


@pages
def test_every_command_and_option_exists(page):
    for command, given in commands(page.read_text()):
        assert command in COMMANDS or (ROOT / "experiments" / command).is_dir(), f"no experiments.{command}"
        assert set(given) <= (options(command) if command in COMMANDS else set()), f"of experiments.{command}"


def test_an_option_quoted_alone_is_some_commands():
    known = OF_OTHERS.union(*(options(command) for command in COMMANDS))
    quoted = {(page.name, o) for page in PAGES for said in spoken(page.read_text()) for o in _OPTION.findall(said)}
    assert not {(name, option) for name, option in quoted if option not in known}


def test_a_command_that_is_not_there_is_noticed():
    text = "`experiments.run\n--setting lwof`\n\n```\nuv run python -m experiments.run \\\n --no-such 3  # --data\n"
    text += "```\n"
    assert commands(text) == [("run", ["--no-such"]), ("run", ["--setting"])]
    assert "--setting" in options("run")
    assert "--no-such" not in options("run")


@pages
def test_relative_links_lead_to_files(page):
    targets = [target for target in _LINK.findall(_FENCE.sub("", page.read_text())) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target.split("#")[0]).exists()]
    assert not missing


@pages
def test_files_named_in_the_text_exist(page):
    names = [said for said in spoken(page.read_text()) if re.fullmatch(r"[\w./-]+/[\w.-]+\.(py|md|css)", said)]
    assert not [name for name in names if not (ROOT / name).exists() and not (page.parent / name).exists()]


@pages
def test_dotted_names_can_be_imported(page):
    text = page.read_text()
    names = re.findall(r"(?:automodule|autodata):: (\S+)", text)
    names += [name for said in spoken(text) for name in re.findall(r"^pyro_sib(?:\.\w+)+(?=$|\()", said)]
    for name in names:
        module, *rest = name, *()
        while True:
            try:
                found = importlib.import_module(module)
                break
            except ModuleNotFoundError:
                module, _, last = module.rpartition(".")
                assert module, name
                rest = [last, *rest]
        for part in rest:
            found = getattr(found, part)


@pages
def test_code_shown_beside_an_equation_exists(page):
    for head, body in _FENCE.findall(page.read_text()):
        if not head.startswith("{literalinclude}"):
            continue
        source = page.parent / head.split()[1]
        scope: list[ast.stmt] = ast.parse(source.read_text()).body
        for name in re.findall(r":pyobject: (\S+)", body)[0].split("."):
            named = [node for node in scope if getattr(node, "name", None) == name]
            assert named, f"{head} has no {name}"
            scope = getattr(named[0], "body", [])


@pytest.mark.parametrize("name", ["library.md", "own_data.md"])
def test_the_code_of_a_page_runs(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = [body for head, body in _FENCE.findall((ROOT / "docs" / name).read_text()) if head == "python"]
    assert blocks
    space: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, name, "exec"), space)
    if name == "own_data.md":
        from pyro_sib.data.features import read_features

        assert read_features(tmp_path / "features.npz").splits.keys() >= {"base_train", "val", "test"}
