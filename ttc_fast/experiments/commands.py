"""The commands that a sweep can run, by the name of their table in a study file."""

from __future__ import annotations

from typing import Any

from ..numerics.protocols import complete
from .sweep_fit import Fits
from .sweep_run import Runs
from .sweep_train import Trainings
from .sweepable import Sweepable, Work

COMMANDS: dict[str, Sweepable] = {"run": Runs(), "train": Trainings(), "fit": Fits()}
"""Ours; yours may be added. A study without a table of settings is of the first one."""


def command_of(name: str) -> Sweepable:
    """A command, with the defaults of the protocol; of a name that is not known here, the first one.

    Args:
        name: of its table.
    """
    return complete(COMMANDS.get(name, COMMANDS["run"]), Sweepable, "command")


def work_of(name: str, config: Any) -> Work:
    """What settings ask for; the hash of it knows the command.

    Args:
        name: of the table of the command.
        config: its settings.

    Raises:
        TypeError, ValueError, OSError: a value is not as it must be.
    """
    work = command_of(name).work(config)
    return work if name == "run" else work._replace(facts={"command": name, **work.facts})
