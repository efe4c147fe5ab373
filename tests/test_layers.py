"""The layer rule: each layer imports only what stands to its left."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "pyro_sib": {"pyro_sib"},
    "models": {"pyro_sib", "models"},
    "inference": {"pyro_sib", "inference"},
    "experiments": {"pyro_sib", "models", "inference", "experiments"},
}
SPEAKS = {"print", "input"}


def _imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add((node.module or "").split(".")[0])
    return found


def _files() -> list[Path]:
    return sorted(path for layer in ALLOWED for path in (ROOT / layer).rglob("*.py"))


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_layer_imports_only_what_stands_to_its_left(path):
    layer = path.relative_to(ROOT).parts[0]
    tree = ast.parse(path.read_text())
    assert _imports(tree) & {*ALLOWED, "tests"} <= ALLOWED[layer]
    if layer != "experiments":
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not names & SPEAKS
        assert not _imports(tree) & {"argparse", "tyro", "rich", "matplotlib"}
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not attributes & {"argv", "environ", "getenv"}


def test_every_layer_is_there():
    assert {path.relative_to(ROOT).parts[0] for path in _files()} == set(ALLOWED)
