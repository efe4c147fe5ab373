"""The layer rule: each layer imports only what stands to its left; no files import one another in a circle."""

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "pyro_sib": {"pyro_sib"},
    "models": {"pyro_sib", "models"},
    "inference": {"pyro_sib", "inference"},
    "experiments": {"pyro_sib", "models", "inference", "experiments"},
}
JOINS = {"inference/program.py"}
"""The file below `experiments` that brings prior, likelihood, model and guide together."""
FACE = "pyro_sib/__init__.py"
"""Names the public parts of all layers, each of which is imported when it is asked for."""
SPEAKS = {"print", "input"}


@cache
def _tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text())


def _imports(tree: ast.AST) -> set[str]:
    """The modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def _named(tree: ast.AST) -> set[str]:
    """The modules that a file names in its strings, to be imported when they are asked for."""
    module = re.compile(r"pyro_sib(\.\w+)+(?=:\w+$|$)")
    return {found[0] for text in _texts(tree) if (found := module.match(text))}


def _layer(module: str) -> str:
    """pyro_sib.models.prior -> models, pyro_sib.files -> pyro_sib, torch -> torch."""
    first, *rest = module.split(".")
    return rest[0] if first == "pyro_sib" and rest and rest[0] in ALLOWED else first


def _files() -> list[Path]:
    found = (path for layer in ALLOWED for path in (ROOT / layer).rglob("*.py"))
    return sorted(path for path in found if not any(part.is_symlink() for part in path.parents))


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    module = ".".join(parts if parts[0] == "pyro_sib" else ("pyro_sib", *parts))
    return module.removesuffix(".__init__")


LAYERED = [path for path in _files() if path != ROOT / FACE]


@pytest.mark.parametrize("path", LAYERED, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_layer_imports_only_what_stands_to_its_left(path):
    name, tree = path.relative_to(ROOT), _tree(path)
    layer, layers = name.parts[0], {_layer(module) for module in _imports(tree) | _named(tree)}
    allowed = ALLOWED[layer] | ({"models"} if name.as_posix() in JOINS else set())
    assert layers & {*ALLOWED, "tests"} - {"pyro_sib"} <= allowed
    bare = {module.split(".")[0] for module in _imports(tree)} & {*ALLOWED}
    assert bare <= {"pyro_sib"}, "the layers have one name, wherever the package lies: pyro_sib.models, ..."
    if layer != "experiments":
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not names & SPEAKS
        assert not layers & {"argparse", "tyro", "rich", "matplotlib"}
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not attributes & {"argv", "environ", "getenv"}


def test_no_files_import_one_another_in_a_circle():
    """Wherever in a file the imports stand."""
    files = {_name(path): path for path in LAYERED}
    graph = {}
    for name, path in files.items():
        graph[name] = {module for module in _imports(_tree(path)) if module in files} - {name}
    TopologicalSorter(graph).prepare()


def test_no_folder_has_more_than_some_twenty_files():
    folders = {path.parent for path in _files()}
    crowded = {
        str(f.relative_to(ROOT)): len(list(f.glob("*.py"))) for f in folders if len(list(f.glob("*.py"))) > 22
    }
    assert not crowded


def _texts(tree: ast.AST) -> list[str]:
    """The strings of a file but for docstrings."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in alone)
    return [node.value for node in constants if isinstance(node.value, str)]


def test_below_experiments_no_text_names_an_option_of_the_command_line():
    """Errors there name the argument; `experiments` knows what the command line calls it."""
    option = re.compile(r"(?<![\w-])--(?=[a-z]|$)")
    below = [path for path in _files() if path.relative_to(ROOT).parts[0] != "experiments"]
    texts = {str(path.relative_to(ROOT)): _texts(_tree(path)) for path in below}
    assert sum(map(len, texts.values())) > 100
    assert not {name: found for name, held in texts.items() if (found := [t for t in held if option.search(t)])}


def test_every_layer_is_there():
    assert {path.relative_to(ROOT).parts[0] for path in _files()} == set(ALLOWED)
