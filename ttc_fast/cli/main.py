"""The command ``ttc-fast``."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import tyro

from .. import __version__
from ..experiments import config as run
from ..experiments import plan
from . import analyze


@dataclass(frozen=True)
class TechniquesConfig:
    """List the inference techniques that ``ttc-fast run --technique`` knows, with their sources."""


Config: TypeAlias = run.RunConfig | analyze.AnalyzeConfig | plan.PlanConfig | TechniquesConfig

_COMMANDS: dict[str, Any] = {
    "run": run.RunConfig,
    "analyze": analyze.AnalyzeConfig,
    "plan": plan.PlanConfig,
    "techniques": TechniquesConfig,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; the exit code: 0, 1 after an error, 2 for a command line that makes no sense."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        print(f"ttc-fast {__version__}")
        return 0
    try:
        _execute(_parse(arguments))
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        print("ttc-fast: interrupted, nothing was written", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, MemoryError) as error:
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


def _execute(config: Config) -> None:
    if isinstance(config, run.RunConfig):
        run.main(config)
    elif isinstance(config, analyze.AnalyzeConfig):
        analyze.main(config)
    elif isinstance(config, plan.PlanConfig):
        plan.main(config)
    else:
        from . import run as report

        report.show_techniques()


def _parse(arguments: list[str]) -> Config:
    """The settings of a command; a misfit ends in SystemExit(2) after one line of complaint."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            config: Config = tyro.extras.subcommand_cli_from_dict(_COMMANDS, prog="ttc-fast", args=arguments)
    except SystemExit as stop:
        if stop.code:
            command = " ".join(["ttc-fast", *(a for a in arguments[:1] if a in _COMMANDS)])
            message = _first_paragraph(complaint.getvalue())
            print(f"ttc-fast: error: {message} ({command} --help lists the options)", file=sys.stderr)
        raise
    return config


def _first_paragraph(box: str) -> str:
    """The message in tyro's box, on one line; what follows its first rule is help."""
    lines = [line.strip(" │") for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    end = next((i for i, line in enumerate(lines) if set(line) == {"─"}), len(lines))
    return " ".join(lines[:end])
