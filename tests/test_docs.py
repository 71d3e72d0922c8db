"""Docstrings: arguments are described, and examples run; so do the README's."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from test_packaging import ROOT
from test_rooms import modules
from ttc_fast.techniques.registry import TECHNIQUES
from ttc_fast.theory.laws import LAWS

PACKAGE = [name for name in sorted(modules()) if name.split(".")[0] not in ("kernels", "run", "")]
"""Without the kernels, which import Triton, and the entry of ``python -m``."""


@pytest.fixture
def _registries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """What an example registers or writes goes when it ends."""
    monkeypatch.chdir(tmp_path)
    laws, techniques = dict(LAWS), dict(TECHNIQUES)
    yield
    for name in LAWS.keys() - laws.keys():
        del LAWS[name]
    for technique in TECHNIQUES.keys() - techniques.keys():
        del TECHNIQUES[technique]


@pytest.mark.usefixtures("_registries")
@pytest.mark.parametrize("name", PACKAGE)
def test_examples(name: str) -> None:
    module = importlib.import_module(f"ttc_fast.{name}")
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in doctest.DocTestFinder().find(module):
        runner.run(test, out=told.append)
    assert not runner.failures, "".join(told)


@pytest.mark.usefixtures("_registries")
def test_readme() -> None:
    """Its blocks of Python, from first to last in one session."""
    session: dict[str, object] = {"__name__": "readme"}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for block in blocks:
        exec(compile(block, "README.md", "exec"), session)
    assert blocks


def classes(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in tree.body if isinstance(node, ast.ClassDef)]


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    return [f for f in node.body if isinstance(f, ast.FunctionDef)]


def base_names(node: ast.ClassDef) -> list[str]:
    return [base.id if isinstance(base, ast.Name) else getattr(base, "attr", "") for base in node.bases]


def without_args() -> list[str]:
    """Public functions and methods with more than one argument, besides self, that describe none.

    What a protocol asks for is described there.
    """
    trees = {name: ast.parse(modules()[name].read_text()) for name in PACKAGE}
    every = [node for tree in trees.values() for node in classes(tree)]
    of_protocols = {f.name for node in every if "Protocol" in base_names(node) for f in methods(node)}
    found = []
    for name, tree in trees.items():
        labelled = [(f.name, f) for f in tree.body if isinstance(f, ast.FunctionDef)]
        for node in classes(tree):
            own = [f for f in methods(node) if "Protocol" in base_names(node) or f.name not in of_protocols]
            labelled += [(f"{node.name}.{f.name}", f) for f in own]
        for label, function in labelled:
            public = not any(part.startswith("_") for part in label.split("."))
            if public and count(function) > 1 and "Args:" not in (ast.get_docstring(function) or ""):
                found.append(f"{name}.{label}")
    return found


def count(function: ast.FunctionDef) -> int:
    """Arguments besides self."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    return len([argument for argument in every if argument.arg not in ("self", "cls")])


def test_arguments_are_described() -> None:
    assert without_args() == []


if __name__ == "__main__":
    print(*without_args(), sep="\n")
