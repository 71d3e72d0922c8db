"""The machine code of the decode kernels and what it says about their speed, without a GPU.

``python -m ttc_fast.kernels.inspect`` compiles the kernels that would be launched and counts their
instructions; ``kernels/roofline.py`` holds the rates and their sources. A bound is what no run can
exceed, not a timing; bench/results has those.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from . import MAX_DIM, PRECISIONS, interpreted, roofline
from .counts import ARCHS, RULES, inspect
from .predict import register

_PIPE_COLUMNS = ("fma", "imad", "wide", "alu", "xu", "tensor", "lsu", "shuffle", "uniform", "control", "other")


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in ("rule", "limit") else "right", no_wrap=True)
    return table


def _what(facts: dict[str, Any]) -> list[str]:
    precision = "" if facts["precision"] == "fp32" else f", {facts['precision']}"
    return [facts["rule"] + precision, str(facts["dim"])]


def _resources(arch: str, found: list[dict[str, Any]]) -> Table:
    table = _table(
        f"{arch}: a program, in bytes; warps of an SM; barriers in a step; instructions for a coefficient-step",
        ("rule", "d", "tile", "registers", "spill", "stack", "shared", "warps", "barriers", "instr.", "least", "ratio",
         "default", "least"),
    )  # fmt: skip
    for facts in found:
        tile = f"{facts['samples']} x {facts['warps']}w" + (" streamed" if facts["streamed"] else "")
        row = [tile, *(str(facts[key]) for key in ("registers", "spill_bytes", "stack_bytes", "shared_bytes"))]
        if facts["instructions_per_step"] is not None:
            count, least = facts["instructions_per_step"], facts["lower_bound"]["instructions_per_step"]
            row += [str(facts["resident_warps"]), f"{facts['barriers_per_step']:g}"]
            row += [f"{count:.1f}", f"{least:.1f}", f"{count / least:.2f}"]
            default = facts["default_run"], facts["lower_bound"]["default_run"]
            row += [f"{count:.1f}" if count else "" for count in default]
        table.add_row(*_what(facts), *row)
    return table


def _pipes(arch: str, found: list[dict[str, Any]]) -> Table:
    table = _table(
        f"{arch}: instructions per coefficient-step by pipe; LDL, STL in the hot loop",
        ["rule", "d", *_PIPE_COLUMNS, "LDL, STL"],
    )
    for facts in found:
        counts = [f"{facts['pipes'].get(pipe, 0):.2f}" for pipe in _PIPE_COLUMNS]
        table.add_row(*_what(facts), *counts, str(facts["local_memory"]))
    return table


def _rates(gpu: roofline.Gpu, found: list[dict[str, Any]]) -> Table:
    table = _table(
        f"{gpu.name} ({gpu.sms} SMs, {gpu.gigahertz} GHz, {gpu.terabytes} TB/s): G coefficient-steps per second, "
        "by count",
        ("rule", "d", "bound", "(16 to 64)", "limit", "least", "share", "default", "least", "eager", "+ product",
         "speed-up", "expected"),
    )  # fmt: skip
    for facts in found:
        on = facts["gpus"][gpu.name]
        names = ("bound", "bound_low", "bound_high", "mathematics", "eager_memory", "eager")
        giga = {name: f"{on[name] / 1e9:,.0f}" for name in names}
        default = [f"{on[key] / 1e9:,.0f}" if key in on else "" for key in ("default_run", "default_mathematics")]
        expected = " to ".join(f"{rate / 1e9:,.0f}" for rate in on["expected"])
        between = f"{giga['bound_low']} to {giga['bound_high']}"
        table.add_row(
            *_what(facts), giga["bound"], between, on["resource"], giga["mathematics"], f"{on['share']:.0%}",
            *default, giga["eager_memory"], giga["eager"], f"{on['speed_up']:.1f}", expected,
        )  # fmt: skip
    return table


LEGEND = """tile: samples and warps. least: the fewest instructions that the mathematics asks for, and their bound.
default: where thoughts are asked for as in the default run, after steps 1, 2, 4, 8, 16, 32, and written to memory.
bound: issue slots, pipes and tensor cores perfectly busy; 16 to 64: lanes a clock of wide multiplications, whose
rate is not published (32 likely). eager: the PyTorch loop with the fewest passes over memory at full bandwidth;
+ product: and its matrix product in float32 at full rate. speed-up: bound over that. expected: 0.4 to 0.9 of the
bound, at the lower end with what mma.sync, if used, reaches of the tensor cores. Rates, sources: roofline.py."""


def show(found: list[dict[str, Any]]) -> None:
    """Print the tables, 120 columns wide where the output is not a terminal."""
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    for arch in dict.fromkeys(facts["arch"] for facts in found):
        ours = [facts for facts in found if facts["arch"] == arch]
        console.print(_resources(arch, ours))
        if arch.startswith("gfx"):
            console.print("no instructions are counted and no bounds known for AMD\n")
            continue
        console.print(_pipes(arch, ours))
        for gpu in roofline.GPUS:
            if gpu.arch == arch:
                console.print(_rates(gpu, ours))
        if not ours[0]["gpus"]:
            console.print(f"no bounds: roofline.GPUS has no rates of a GPU with {arch}\n")
    console.print(LEGEND, soft_wrap=True)


def _dim(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_DIM:
        raise argparse.ArgumentTypeError(f"expected an integer from 1 to {MAX_DIM}, got {text!r}")
    return int(text)


def _choices(parser: argparse.ArgumentParser, flag: str, choices: Sequence[str], default: list[str]) -> None:
    text = f"of {', '.join(choices)} (default {' '.join(default)})"
    parser.add_argument(flag, nargs="+", choices=choices, default=default, metavar=flag[2:].upper(), help=text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ttc_fast.kernels.inspect", description=__doc__)
    _choices(parser, "--arch", ARCHS, ["sm_80", "sm_90", "sm_100"])
    _choices(parser, "--rule", RULES, ["gaussian", "bernoulli"])
    parser.add_argument("--dim", nargs="+", type=_dim, default=[16, 32, 64, 128], metavar="D", help="1 to 256")
    _choices(parser, "--precision", PRECISIONS, ["fp32"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to this file")
    parser.add_argument(
        "--predict", type=Path, metavar="FILE", help="write only the predictions for bench/gpu.py, of this Triton"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    if importlib.util.find_spec("triton") is None:
        print("inspect: Triton, which compiles the kernels, is not installed: pip install triton", file=sys.stderr)
        return 2
    if interpreted():
        print("inspect: TRITON_INTERPRET is set, so that nothing is compiled: unset it", file=sys.stderr)
        return 2
    for flag, file in (("--json", options.json), ("--predict", options.predict)):
        if file and not file.parent.is_dir():
            print(f"inspect: {flag}: expected a file in an existing folder, got {file}", file=sys.stderr)
            return 2
    if options.predict:
        register(options.predict)
        return 0
    with Console(stderr=True).status("") as status:
        found = []
        for kernel in product(options.arch, options.rule, options.dim, options.precision):
            status.update("compiling {}, {}, d = {}, {}".format(*kernel))
            found.append(inspect(*kernel))
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
