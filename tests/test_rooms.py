"""The rooms of the package import only those before them.

``python tests/test_rooms.py`` prints the module graph; with the folder of another ``ttc_fast``, such as one of an old
commit, that of it.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from test_packaging import ROOT, python

ROOMS = (
    "numerics",
    "kernels",
    "estimators",
    "tasks",
    "decoding",
    "models",
    "techniques",
    "evaluation",
    "theory",
    "logs",
    "experiments",
    "cli",
)
"""In the order of the story; the kernels, which Triton compiles, are reached through ``decoding`` and the engine of
``tasks/engine.py`` alone."""

Graph = dict[str, set[str]]
"""Module -> modules that it imports, by their names within the package, such as ``decoding.rules``."""


def modules(package: Path = ROOT / "ttc_fast") -> dict[str, Path]:
    """Every module of the package by name, with the kernels beside it; a room itself is its ``__init__``."""
    found = {}
    for folder, prefix in ((package, ""), (package.parent / "kernels", "kernels")):
        for path in folder.rglob("*.py"):
            parts = [prefix, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part not in ("", "__init__"))] = path
    return found


def imports(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """What a module imports of the package, also in functions and for type checkers."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if package else []
            base = ".".join(filter(None, ("ttc_fast", *above, node.module or ""))) if node.level else node.module or ""
            targets = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in targets:
            top, _, rest = target.partition(".")
            if top == "ttc_fast":
                yield rest if rest in known else rest.rpartition(".")[0]


def module_graph(package: Path = ROOT / "ttc_fast") -> Graph:
    """The import graph without the top level, which knows all rooms and which rooms ask for the version only.

    Without the entry of ``python -m`` too, which once was more than that.
    """
    known = modules(package)
    outside = ("", "run") if "experiments.run" in known else ("",)
    rooms = {name: path for name, path in known.items() if name not in outside}
    return {name: {one for one in imports(name, path, known) if one in rooms} - {name} for name, path in rooms.items()}


def circles(graph: Graph) -> list[list[str]]:
    """Sets of modules that import each other, in a circle."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = list(graph[start])
        while todo:
            if (name := todo.pop()) not in seen:
                seen.add(name)
                todo += graph[name]
        return seen

    reach = {name: reached(name) for name in graph}
    found = {frozenset(other for other in reach[name] if name in reach[other]) for name in graph if name in reach[name]}
    return sorted(sorted(circle) for circle in found)


def floors(graph: Graph) -> list[list[str]]:
    """The modules by the longest way down to one that imports nothing; those of a circle are on one floor."""
    whole = {name: frozenset({name}) for name in graph}
    whole |= {name: frozenset(circle) for circle in circles(graph) for name in circle}
    level: dict[frozenset[str], int] = {}

    def floor(group: frozenset[str]) -> int:
        if group not in level:
            below = {whole[other] for name in group for other in graph[name]} - {group}
            level[group] = 1 + max(map(floor, below), default=-1)
        return level[group]

    height = {name: floor(whole[name]) for name in graph}
    return [sorted(n for n in graph if height[n] == i) for i in range(max(height.values(), default=-1) + 1)]


def show(package: Path) -> None:
    """Print floors, arrows and circles."""
    graph = module_graph(package)
    for i, floor in enumerate(floors(graph)):
        print(f"{i:2}  {' '.join(floor)}")
    for circle in circles(graph):
        print(f"circle: {' '.join(circle)}")
    arrows = sum(map(len, graph.values()))
    print(f"{len(graph)} modules, {len(floors(graph))} floors, {arrows} arrows, {len(circles(graph))} circles")


def test_every_package_is_a_room() -> None:
    assert {path.parent.name for path in (ROOT / "ttc_fast").glob("*/__init__.py")} | {"kernels"} == set(ROOMS)


def test_rooms_import_only_those_before_them() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, others in module_graph().items()
        for other in others
        if ROOMS.index(other.split(".")[0]) > ROOMS.index(name.split(".")[0])
    ]
    assert not wrong


def test_kernels_are_reached_through_decoding_and_one_engine() -> None:
    graph = module_graph()
    using = {name for name, others in graph.items() if any(o.startswith("kernels") for o in others)}
    assert {name.split(".")[0] for name in using - {"tasks.engine"}} <= {"kernels", "decoding"}
    assert {o.split(".")[0] for n, others in graph.items() if n.startswith("kernels") for o in others} <= {
        "kernels",
        "numerics",
    }


def test_no_circles() -> None:
    assert circles(module_graph()) == []


def test_graph_of_an_example() -> None:
    """The functions above see what they should."""
    graph = {"a": {"b", "c"}, "b": {"c"}, "c": set(), "d": {"e"}, "e": {"d"}}
    assert circles(graph) == [["d", "e"]]
    assert floors({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == [["c"], ["b"], ["a"]]
    assert floors({"a": {"b"}, "b": {"a", "c"}, "c": set()}) == [["c"], ["a", "b"]]
    found = module_graph()
    assert "kernels" in found["decoding.backends"]
    assert "numerics.check" in found["decoding.rules"]  # from ..numerics import check
    assert "logs.reader" in found["cli.analyze"]  # in a function
    assert "logs.log" in found["cli.analyze"]  # for type checkers


@pytest.mark.parametrize("room", ["estimators", "logs"])
def test_imports_are_light(room: str) -> None:
    names = [f"ttc_fast.{name}" for name in modules() if name.startswith(room)]
    code = (
        f"import importlib, sys; [importlib.import_module(name) for name in {names}];"
        "print([m for m in ('torch', 'triton', 'matplotlib') if m in sys.modules])"
    )
    assert python(code) == "[]"


@pytest.mark.parametrize("command", ["run", "analyze", "fit", "plan", "train", "predict", "techniques", "theory"])
def test_help_is_light(command: str) -> None:
    code = (
        f"import sys; from ttc_fast.cli.main import main; main([{command!r}, '--help']);"
        "print('\\n', [m for m in ('torch', 'triton', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    assert python(code).splitlines()[-1] == " []"


def test_the_entry_of_python_m_is_nothing_else() -> None:
    assert len((ROOT / "ttc_fast" / "run.py").read_text().splitlines()) <= 10


def test_every_room_says_what_it_is_for() -> None:
    for path in (ROOT / "ttc_fast").rglob("__init__.py"):
        first = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0]
        assert len(first) > 15, path
        assert first.endswith("."), path


if __name__ == "__main__":
    show(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "ttc_fast")
