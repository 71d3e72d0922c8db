"""The command ``ttc-fast``."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Annotated, Any

import tyro

from .. import __version__
from ..experiments.config import (
    MergeConfig,
    PlanConfig,
    PlotConfig,
    ReportConfig,
    ReproduceConfig,
    RunConfig,
    StatusConfig,
    SweepConfig,
)
from ..experiments.presets import PRESETS
from ..experiments.training_config import PredictConfig, TrainCommand
from ..numerics import check, files
from ..numerics.visible import tell, visible, write_error
from . import (
    analyze,
    build_kernels,
    console,
    fit,
    interruption,
    plan,
    predict,
    reproduce,
    run,
    streams,
    sweep,
    sweep_folder,
    sweep_pictures,
    techniques,
    theory,
    train,
)

COMMANDS: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "run": (RunConfig, run.main),
    "analyze": (analyze.AnalyzeConfig, analyze.main),
    "fit": (fit.FitConfig, fit.main),
    "plan": (PlanConfig, plan.main),
    "sweep": (SweepConfig, sweep.main),
    "status": (StatusConfig, sweep_folder.status),
    "merge": (MergeConfig, sweep_folder.merge),
    "plot": (PlotConfig, sweep_pictures.plot),
    "report": (ReportConfig, sweep_pictures.report),
    "train": (TrainCommand, train.main),
    "predict": (PredictConfig, predict.main),
    "reproduce": (ReproduceConfig, reproduce.main),
    "build-kernels": (build_kernels.BuildKernelsConfig, build_kernels.main),
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
    streams.ensure()
    files.WRITTEN.clear()
    return streams.finish(_status(arguments))


def _status(arguments: list[str]) -> int:
    """Do what the command line says; what is printed may still be on its way."""
    try:
        if arguments == ["--version"]:
            console.show(f"ttc-fast {__version__}")
            return 0
        preset = _preset(arguments)
        settings: dict[str, Any] = {
            name: Annotated[config, tyro.conf.subcommand(name)] for name, (config, _) in COMMANDS.items()
        }
        if preset is not None:
            settings["run"] = Annotated[RunConfig, tyro.conf.subcommand("run", default=preset)]
        config = _parsed(reduce(or_, settings.values()), arguments)
        execute = next(command for kind, command in COMMANDS.values() if type(config) is kind)
        execute(config)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        tell(f"ttc-fast: {interruption.text(arguments)}")
        return interruption.STATUS
    except streams.OutputError as error:
        if error.status != streams.CLOSED_PIPE:
            tell(f"ttc-fast: error: {error}")
        return error.status
    except (ValueError, TypeError, OSError, MemoryError, ImportError) as error:
        tell(f"ttc-fast: error: {streams.message(error)}")
        return 1
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        reason = str(error).splitlines()[0]
        tell(f"ttc-fast: error: not enough memory, ask for a smaller problem: {reason}")
        return 1
    return 0


def _parsed(settings: Any, arguments: list[str]) -> Any:
    """The settings that the command line asks for; help and complaints, which quote it, are printed."""
    complaint = io.StringIO()
    try:
        with streams.printing(), contextlib.redirect_stderr(complaint):
            return tyro.cli(settings, prog="ttc-fast", args=arguments)
    finally:
        text = complaint.getvalue()
        harmless = all(visible(argument) == argument for argument in arguments)
        write_error(text if harmless else visible(text, keep="\n"))  # it has colours of its own
