"""Settings of a sweep from a TOML file: what all runs have in common, and what varies.

seeds = 3                          # short for seed = [0, 1, 2] in the grid
[run]                              # any setting of ``ttc-fast run``, by its long name; also preset = "paper"
samples = 256
[grid]                             # product, the first name varies slowest
dim = [8, 16]
noise_scale = {from = 0.05, to = 0.8, count = 5, scale = "log"}
examples = {from = 32, to = 128, step = 32}
[zip]                              # lists that go together: one more factor of the product
steps = [[8], [16], [32]]
budgets = [[256], [128], [64]]

In place of [run] the tables of another command, see ``commands.py``: [fit], or [train], [task] and [model], of which a
grid calls the settings ``learning_rate``, ``task.dim`` and ``model.heads``.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ..numerics import check
from .commands import COMMANDS, command_of
from .sweepable import Sweepable
from .toml import read_toml

GALLERY = Path(__file__).parent / "studies"
"""Studies that come with the library."""

MOST_POINTS = 10**6
"""Runs of a study."""

_RANGE = ("from", "to", "step", "count", "scale")


@dataclass(frozen=True)
class Point:
    """One run of a study."""

    varied: Mapping[str, Any]
    """Its values of what varies, by name of the setting."""
    config: Any
    """Settings of the command."""
    command: str
    """Its name in ``COMMANDS``."""

    @property
    def label(self) -> str:
        """Such as ``dim 8, seed 0``."""
        return ", ".join(f"{name} {value}" for name, value in self.varied.items()) or "the only setting"


def study_file(study: Path) -> Path:
    """The file of a study, a training or a sweep: of the gallery, by its name, or one's own.

    Args:
        study: a name, or a path that ends in ``.toml``.

    Raises:
        ValueError: there is none of that name.

    >>> study_file(Path("temperature")).name
    'temperature.toml'
    """
    if study.suffix == ".toml":
        return study
    check.choice("study", str(study), sorted(path.stem for path in GALLERY.glob("*.toml")))
    return GALLERY / f"{study}.toml"


def load_points(path: Path) -> tuple[Point, ...]:
    """The runs of a study file, in the order of the product.

    Args:
        path: of a ``.toml`` file.

    Raises:
        OSError: it cannot be read.
        ValueError, TypeError: it is no TOML, a name is unknown, or a range is not as it must be.
    """
    return points(read_toml(path))


def points(document: Mapping[str, Any]) -> tuple[Point, ...]:
    """The runs of a study.

    Args:
        document: as a TOML file has it.

    Returns:
        In the order of the product.

    Raises:
        ValueError, TypeError: a name is unknown, or a range is not as it must be.

    >>> study = {"grid": {"dim": [8, 16]}, "zip": {"steps": [[4], [8]], "budgets": [[64], [32]]}}
    >>> [(point.varied["dim"], point.config.steps) for point in points(study)]
    [(8, (4,)), (8, (8,)), (16, (4,)), (16, (8,))]
    """
    name = _command_name(document)
    command = command_of(name)
    hints, own = command.hints(), (*command.tables, name)
    for table in document:
        _check_known("study", table, (*own, "grid", "zip", "seeds"))
    common: dict[str, Any] = {}
    for table in own:
        given = _named(table, document.get(table, {}), "" if table == name else f"{table}.")
        common |= {setting: _typed(hints[setting], v) for setting, v in _checked(table, given, command, hints).items()}
    grid, together = (_varying(table, document.get(table, {}), own, command, hints) for table in ("grid", "zip"))
    if "seeds" in document:
        grid["seed"] = list(range(check.integer("seeds", document["seeds"], 1, MOST_POINTS)))
    _check_once(name, common, grid, together)
    factors = [[{name: value} for value in values] for name, values in grid.items()]
    if together:
        factors.append([dict(zip(together, row)) for row in zip(*together.values())])
    count = math.prod(map(len, factors))
    if count > MOST_POINTS:
        raise ValueError(f"grid: expected at most {MOST_POINTS:,} runs, got {count:,}; divide the study")
    found = []
    for row in itertools.product(*factors):
        varied = {setting: value for part in row for setting, value in part.items()}
        typed = {setting: _typed(hints[setting], value) for setting, value in varied.items()}
        found.append(Point(varied, command.config({**common, **typed}), name))
    return tuple(found)


def _command_name(document: Mapping[str, Any]) -> str:
    """Of the command whose tables a study has; of the first one, if there are none."""
    found = [
        name for name in COMMANDS if any(table in document for table in (*command_of(name).tables, name))
    ]  # fmt: skip
    if len(found) > 1:
        raise ValueError(f"study: expected settings of one command, got {' and '.join(f'[{name}]' for name in found)}")
    return (found or list(COMMANDS))[0]


def _named(table: str, given: Any, prefix: str = "") -> dict[str, Any]:
    """Settings by the names that Python has for them."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{table}: expected a table [{table}] of settings, got {check.shown(given)}")
    return {prefix + name.replace("-", "_"): value for name, value in given.items()}


def _checked(table: str, given: dict[str, Any], command: Sweepable, known: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, if all have names that the command knows."""
    for name in given:
        if name in command.output:
            raise ValueError(f"{table}: expected what decides the figures, got {name!r}, which does not; leave it out")
        _check_known(table, name, list(known))
    return given


def _varying(
    table: str, given: Any, tables: Sequence[str], command: Sweepable, hints: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """What varies, by name; ``model.heads = [1, 2]`` is a table in a table."""
    named: dict[str, Any] = {}
    for name, value in _named(table, given).items():
        named |= _named(name, value, f"{name}.") if name in tables and isinstance(value, Mapping) else {name: value}
    return {name: _values(name, v, hints[name]) for name, v in _checked(table, named, command, hints).items()}


def _check_known(table: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.0)
        raise ValueError(f"{table}: expected the name of a setting, got {name!r}; the nearest is {near[0]!r}")


def _check_once(command: str, common: Iterable[str], grid: Mapping[str, Any], together: Mapping[str, Any]) -> None:
    for name in grid:
        if name in together:
            raise ValueError(f"zip: expected settings that are not in [grid], got {name}; leave one of them out")
    for name in common:
        if name in grid or name in together:
            raise ValueError(f"{command}: expected settings that do not vary, got {name}; leave one of them out")
    lengths = {name: len(values) for name, values in together.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"zip: expected lists of one length, got {lengths}")


def _typed(hint: Any, value: Any) -> Any:
    """A value of TOML as the settings have it: lists are tuples, paths are paths, 1 is 1.0 where a fraction may be."""
    if isinstance(value, list):
        return tuple(_typed(hint, one) for one in value)
    types = _types(hint)
    if isinstance(value, str) and Path in types:
        return Path(value).absolute()
    return float(value) if type(value) is int and float in types and abs(value) < 2**53 else value


def _types(hint: Any) -> set[Any]:
    """The types that occur in that of a setting."""
    todo, seen = [hint], set()
    while todo:
        one = todo.pop()
        seen.add(one)
        todo += get_args(one)
    return seen


def _values(name: str, given: Any, hint: Any) -> list[Any]:
    """What a setting is to be, in its order and each once."""
    values = _range(name, given, whole=float not in _types(hint)) if isinstance(given, Mapping) else given
    if not isinstance(values, list) or not values:
        raise TypeError(f"{name}: expected a list of values, or a range {{from = , to = }}, got {check.shown(given)}")
    if any(values.count(value) > 1 for value in values[:1000]):
        raise ValueError(f"{name}: expected each value once, got {check.shown(values)}")
    return values


def _range(name: str, given: Mapping[str, Any], *, whole: bool) -> list[Any]:
    """``{from, to, step}``, or ``{from, to, count}``, evenly or, with ``scale = "log"``, by a constant factor."""
    for key in given:
        if key not in _RANGE:
            near = difflib.get_close_matches(key, _RANGE, 1, 0.0)[0]
            raise ValueError(f"{name}: expected {', '.join(_RANGE)} in a range, got {key!r}; the nearest is {near!r}")
    for key in ("from", "to"):
        if key not in given:
            raise ValueError(f"{name}: expected from and to in a range, got {check.shown(dict(given))}")
    low, high = (check.number(f"{name}: {key}", given[key]) for key in ("from", "to"))
    if ("step" in given) == ("count" in given):
        raise ValueError(f"{name}: expected a step or a count in a range, got {check.shown(dict(given))}")
    if "step" in given:
        step = check.number(f"{name}: step", given["step"])
        count = math.floor((high - low) / step + 1e-9) + 1 if step else 0
        if count < 1 or "scale" in given:
            raise ValueError(f"{name}: expected a step that leads from {low:g} to {high:g}, and no scale, got {step:g}")
        found = [low + i * step for i in range(check.integer(name, count, 1, MOST_POINTS))]
    else:
        count = check.integer(f"{name}: count", given["count"], 2, MOST_POINTS)
        check.choice(f"{name}: scale", given.get("scale", "linear"), ("linear", "log"))
        shares = [i / (count - 1) for i in range(count)]
        if given.get("scale") == "log":
            if low <= 0 or high <= 0:
                raise ValueError(f"{name}: expected a range above 0 with scale 'log', got {low:g} to {high:g}")
            found = [low ** (1 - share) * high**share for share in shares]
        else:
            found = [low * (1 - share) + high * share for share in shares]
        found[0], found[-1] = low, high
    return list(dict.fromkeys(round(value) if whole else float(f"{value:.12g}") for value in found))
