"""What a sweep can do at each of its settings: a command of ours or yours, as an object with a few methods.

A command with the tables ``[train]``, ``[task]`` and ``[model]`` calls its settings ``learning_rate``, of its own
table, and ``model.heads``, of a further one. ``COMMANDS`` in ``commands.py`` has those that a study file may name; one
of yours goes there, under the name of its table, from a module that workers can import.
"""

from __future__ import annotations

import tempfile
import time
from abc import abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..estimators.table import Table


class Cost(NamedTuple):
    """Of each unit of some work."""

    seconds: float
    bytes: float
    figures: int
    """Rows of its table: keys."""


class Work(NamedTuple):
    """What settings ask for."""

    config: Any
    """What workers are told; it can be pickled."""
    settings: dict[str, Any]
    """All that decides the figures, with every default filled in, as JSON has it."""
    first: int = 0
    stop: int = 1
    """Units from ``first`` to here, into which the work can be divided: prompts, or one that cannot."""
    kind: tuple[Any, ...] = ()
    """Work of the same kind takes a time that is linear in its size."""
    size: int = 1
    steps: int = 0
    """Coefficient-steps of a unit; 0 where nobody counts them."""
    facts: Mapping[str, Any] = {}
    """That decide the figures beside the settings and the version of ttc_fast."""


class Sweepable(Protocol):
    """A command that a sweep can run.

    >>> import numpy as np
    >>> class Squares:  # [squares] number = 3
    ...     def hints(self): return {"number": float}
    ...     def config(self, given): return dict(given)
    ...     def work(self, config): return Work(config, config)
    ...     def compute(self, config, start, stop, place):
    ...         key = ("squares", "square", 1, 1, "square")
    ...         return Table((key,), np.arange(start, stop), np.array([[config["number"] ** 2]]))
    """

    tables: tuple[str, ...] = ()
    """Of a study file, beside its own."""
    output: Collection[str] = ()
    """Options of the command line that no study may set."""
    unit: str = "units"
    metrics: tuple[str, ...] = ()
    """That are drawn, if they are there; else the first one."""
    units: Mapping[str, str] = {}
    """Of the columns of its tables, such as ``{"steps": "thoughts"}``."""
    independent: bool = True
    """Whether prompts of the same index are others under another seed."""

    @abstractmethod
    def hints(self) -> Mapping[str, Any]:
        """The types of all settings by name."""

    @abstractmethod
    def config(self, given: Mapping[str, Any]) -> Any:
        """Of the settings of one run, which a study file has in its tables.

        Args:
            given: settings by name.

        Raises:
            TypeError, ValueError: a value is not as it must be.
        """

    @abstractmethod
    def work(self, config: Any) -> Work:
        """What these settings ask for; nothing is computed.

        Args:
            config: of :meth:`config`.

        Raises:
            TypeError, ValueError, OSError: a value is not as it must be.
        """

    @abstractmethod
    def compute(self, config: Any, start: int, stop: int, place: Path) -> Table:
        """The figures of some units, to the same bits however the work is divided.

        Args:
            config: of :class:`Work`.
            start, stop: of the units.
            place: a folder for what else is to be kept of these settings, which is not made yet; after an interruption
                it has what was there.
        """

    def measured(self, work: Work) -> Cost:
        """What a unit costs; by default as long as one takes.

        Args:
            work: of :meth:`work`.
        """
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            table = self.compute(work.config, work.first, work.first + 1, Path(folder) / "place")
        return Cost(time.perf_counter() - began, 8.0 * table.values.size, table.values.size)
