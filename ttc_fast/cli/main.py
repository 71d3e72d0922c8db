"""The command ``ttc-fast``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

import tyro

from .. import __version__
from ..experiments.config import PlanConfig, ReproduceConfig, RunConfig
from ..experiments.presets import PRESETS
from ..numerics import check
from . import analyze, plan, reproduce, run, techniques, theory

COMMANDS: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "run": (RunConfig, run.main),
    "analyze": (analyze.AnalyzeConfig, analyze.main),
    "plan": (PlanConfig, plan.main),
    "reproduce": (ReproduceConfig, reproduce.main),
    "techniques": (techniques.TechniquesConfig, techniques.main),
    "theory": (theory.TheoryConfig, theory.main),
}
"""Name -> settings, and what does as they say."""


def _preset(arguments: list[str]) -> RunConfig | None:
    """The settings that ``run --preset NAME`` asks for, which the other options change; it is taken off the list.

    Raises:
        ValueError: there is none of that name.
    """
    if arguments[:1] != ["run"]:
        return None
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--preset":
            del arguments[i]
            if not equals:
                value = arguments.pop(i) if i < len(arguments) else ""
            check.choice("preset", value, tuple(PRESETS))
            return PRESETS[value]
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: the command line; default that of the process.

    Returns:
        The exit code: 0, 1 after an error, 2 for a command line that makes no sense; as in a shell 130 after Ctrl-C and
        141 if nobody reads the output any more.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        print(f"ttc-fast {__version__}")
        return 0
    try:
        preset = _preset(arguments)
        settings: dict[str, Any] = {
            name: Annotated[config, tyro.conf.subcommand(name)] for name, (config, _) in COMMANDS.items()
        }
        if preset is not None:
            settings["run"] = Annotated[RunConfig, tyro.conf.subcommand("run", default=preset)]
        config: Any = tyro.cli(reduce(or_, settings.values()), prog="ttc-fast", args=arguments)
        execute = next(command for kind, command in COMMANDS.values() if type(config) is kind)
        execute(config)
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        print("ttc-fast: interrupted, nothing was written", file=sys.stderr)
        return 130
    except BrokenPipeError:  # as in `ttc-fast techniques | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain when it ends
        return 141
    except (ValueError, TypeError, OSError, MemoryError, ImportError) as error:
        message = (error.strerror if isinstance(error, OSError) and not error.filename else None) or str(error)
        print(f"ttc-fast: error: {message}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        print(f"ttc-fast: error: not enough memory, ask for a smaller problem: {reason}", file=sys.stderr)
        return 1
    return 0
