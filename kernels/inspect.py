"""The machine code of the decode kernels and what it says about their speed, without a GPU.

``python -m ttc_fast.kernels.inspect`` compiles the kernels that would be launched and counts their
instructions; ``kernels/roofline.py`` holds the rates and their sources. A bound is what no run can
exceed, not a timing: none has been made on a GPU yet.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from . import MAX_DIM, PRECISIONS, interpreted, padded, roofline, sass

if TYPE_CHECKING:
    from .compiled import Compiled

ARCHS = (*roofline.OCCUPANCY, "gfx942", "gfx950")
RULES = tuple(roofline.EAGER)
STEPS = 4
"""Steps of one trip of the hot loop."""

EXPECTED = 0.4, 0.9
"""Range in which a run should lie, as shares of its bound (see PREDICTIONS_TEXT)."""

PREDICTIONS_TEXT = {
    "status": "predictions from compiled code: no GPU timing has been made yet",
    "rate": "coefficient-steps per second of one launch of many steps whose thoughts fill the GPU (2^26 coefficients)",
    "bound": "issue slots, pipes and tensor cores perfectly busy at the highest clock, for a wide multiplication "
    "of 32 lanes a clock; bound_low and bound_high are for 16 and 64 lanes",
    "expected": "0.4 to 0.9 of the bound; for the lower end the tensor cores have only the share of their peak that "
    "mma.sync is known or assumed to reach (1 on A100, 0.6 on H100 and H200, 0.25 on B200). Why: on an H20 Triton's "
    "Philox with a store was timed at 597 of 898 G words a second that this model allows, 66 % (FlagGems, pull "
    "request 5646), and normals at 239 (pull request 6527) to 358 of 354. Our loop adds a barrier at every step and "
    "16 warps or fewer on an SM, which can push it lower; a clock below the highest one, too",
    "eager": "the eager loop with the fewest passes over memory, at the full bandwidth of the datasheet, its matrix "
    "product in float32 (PyTorch's default, no TF32) at the full rate of multiply-adds; eager_memory: without that",
    "falsified_by": [
        "a run faster than bound_high: a rate of the table, or the count of instructions, is wrong",
        "a run slower than expected[0]: latency or barriers, which the model leaves out, decide",
        "an eager loop faster than eager on thoughts that do not fit into L2: the bytes of its operations are wrong",
        "a speed-up over eager below expected[0] / eager",
    ],
}


class Analysis(NamedTuple):
    """What the machine code of a kernel does for one coefficient-step."""

    mix: roofline.Mix
    barriers_per_step: float
    """Barriers that a program waits at in one step."""
    local_memory: int
    """Loads and stores of the stack (LDL, STL) in the hot loop."""
    tensor_instructions: int
    """HMMA in the hot loop."""
    loops: tuple[tuple[int, int], ...]
    """Trips in a block of four steps and instructions: of the hot loop, if streamed those around it, and of rounds."""


def analyse(compiled: Compiled, dim: int, ones: int = 0) -> Analysis:
    """Count the hot loop of an NVIDIA kernel: four steps of BN x D coefficients, on 32 lanes a warp.

    Where the matrix stays on chip that is the innermost loop. Where it is streamed, it is the whole nest: the
    body of the block of four steps, four times that of a step, and in it that of a slice of the matrix. A step that
    chooses ``ones`` coefficients has a loop besides, one round for each.
    """
    width = padded(dim)
    rounds: list[str] = []
    if ones:
        bodies, rounds = sass.nest_with_rounds(compiled.assembly, 3 if compiled.tile.streamed else 2)
    else:
        bodies = sass.nest(compiled.assembly)
    trips = [1]
    if compiled.tile.streamed:
        from .chain import SLICE  # imports triton

        trips = [1, STEPS, STEPS * width**2 // SLICE.value]
        if len(bodies) != len(trips):
            raise ValueError(f"assembly: expected {len(trips)} loops in a streamed kernel, got {len(bodies)}")
    hot = list(zip(trips, bodies[-len(trips) :]))
    if ones:  # on chip the four steps follow each other, and the loops of all four are in ``rounds``
        hot.append((ones * (STEPS if compiled.tile.streamed else 1), rounds))
    count: Counter[str] = Counter()
    for times, body in hot:
        for opcode in body:
            count[opcode] += times
    coefficient_steps = compiled.tile.samples * width / (32 * compiled.tile.warps) * STEPS
    named = Counter({name: n for name, n in count.items() if name != "NOP"})
    return Analysis(
        _mix(named, coefficient_steps),
        sum(n for name, n in named.items() if name.startswith("BAR")) / STEPS,
        sum(n for name, n in named.items() if name.startswith(("LDL", "STL"))),
        sum(n for name, n in named.items() if sass.pipe(name) == "tensor"),
        tuple((times, sum(opcode != "NOP" for opcode in body)) for times, body in hot),
    )


def _mix(count: Counter[str], coefficient_steps: float) -> roofline.Mix:
    pipes: Counter[str] = Counter()
    lanes = wavefronts = products = 0
    for opcode, n in count.items():
        pipe = sass.pipe(opcode)
        pipes[pipe] += n
        if pipe == "fma":
            lanes += n * sass.float_lanes(opcode)
        elif pipe == "lsu":
            wavefronts += n * sass.wavefronts(opcode)
        elif pipe == "tensor":
            products += n * sass.tensor_products(opcode)
    return roofline.Mix(
        {pipe: n / coefficient_steps for pipe, n in sorted(pipes.items())},
        lanes / coefficient_steps,
        wavefronts / coefficient_steps,
        products / 32 / coefficient_steps,
    )


def inspect(arch: str, rule: str, dim: int, precision: str = "fp32") -> dict[str, Any]:
    """Compile a kernel and say everything about it, in the types of JSON.

    Raises:
        ValueError: an argument is not one of ARCHS, RULES, 1 to MAX_DIM, PRECISIONS.
    """
    from .compiled import CONSTANTS, compile_decode  # imports triton

    _check(arch, rule, dim, precision)
    compiled = compile_decode(arch, rule, dim, precision)
    facts: dict[str, Any] = {
        "arch": arch, "rule": rule, "dim": dim, "precision": precision, "instructions_per_step": None,
        "spill_bytes": compiled.spill_bytes, "stack_bytes": compiled.stack_bytes, "registers": compiled.registers,
        "shared_bytes": compiled.shared_bytes, "samples": compiled.tile.samples, "warps": compiled.tile.warps,
        "streamed": compiled.tile.streamed,
    }  # fmt: skip
    if arch.startswith("gfx"):  # counted are only instructions of NVIDIA
        return facts
    found = analyse(compiled, dim, CONSTANTS[rule]["ONES"])
    least = roofline.lower_bound(CONSTANTS[rule], padded(dim), precision, arch)
    return facts | {
        "instructions_per_step": found.mix.instructions,
        "resident_warps": roofline.resident_warps(arch, compiled.tile.warps, compiled.registers, compiled.shared_bytes),
        "pipes": found.mix.pipes,
        "barriers_per_step": found.barriers_per_step,
        "local_memory": found.local_memory,
        "tensor_instructions": found.tensor_instructions,
        "loops": found.loops,
        "lower_bound": {"instructions_per_step": least.instructions, "pipes": least.pipes},
        "gpus": {gpu.name: _on(gpu, rule, dim, found.mix, least) for gpu in roofline.GPUS if gpu.arch == arch},
    }


def _on(gpu: roofline.Gpu, rule: str, dim: int, mix: roofline.Mix, least: roofline.Mix) -> dict[str, Any]:
    """What a kernel, the least work and an eager loop may reach on one GPU, in coefficient-steps per second."""
    ours, ideal, eager = roofline.bound(mix, gpu), roofline.bound(least, gpu), roofline.eager_bound(rule, gpu, dim)
    careful = roofline.bound(mix, gpu, gpu.mma_sync)
    return {
        "bound": ours.rate, "resource": ours.resource, "bound_low": ours.low, "bound_high": ours.high,
        "mathematics": ideal.rate, "mathematics_resource": ideal.resource, "share": ours.rate / ideal.rate,
        "eager_memory": roofline.eager_bound(rule, gpu, 0), "eager": eager, "speed_up": ours.rate / eager,
        "expected": [EXPECTED[0] * careful.rate, EXPECTED[1] * ours.rate],
        "cycles": roofline.cycles(mix, gpu),
    }  # fmt: skip


def predictions() -> dict[str, Any]:
    """What ``bench/gpu.py`` holds its measurements against: every GPU of ``roofline.GPUS``, the default table."""
    rows = []
    for arch, rule, dim in product(dict.fromkeys(gpu.arch for gpu in roofline.GPUS), RULES[:2], (16, 32, 64, 128)):
        facts = inspect(arch, rule, dim)
        for gpu, on in facts["gpus"].items():
            keys = ("bound", "bound_low", "bound_high", "expected", "eager_memory", "eager")
            rates = {key: _rounded(on[key]) for key in keys}
            rows.append({"gpu": gpu, "rule": rule, "dim": dim, "resource": on["resource"], **rates})
    return {**PREDICTIONS_TEXT, "triton": _triton_version(), "predictions": rows}


def _rounded(value: Any) -> Any:
    """Three digits: what the file shows is what is predicted."""
    return [_rounded(v) for v in value] if isinstance(value, list) else int(float(f"{value:.3g}"))


def _text(predicted: dict[str, Any]) -> str:
    """JSON with a line for each prediction."""
    rows = ",\n".join(f"  {json.dumps(row)}" for row in predicted["predictions"])
    head = json.dumps({**predicted, "predictions": []}, indent=1)
    return head.replace('"predictions": []', f'"predictions": [\n{rows}\n ]') + "\n"


def _triton_version() -> str:
    import triton

    return str(triton.__version__)


def _check(arch: str, rule: str, dim: int, precision: str) -> None:
    for name, value, choices in (("arch", arch, ARCHS), ("rule", rule, RULES), ("precision", precision, PRECISIONS)):
        if value not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    if not 1 <= dim <= MAX_DIM:
        raise ValueError(f"dim: expected an integer from 1 to {MAX_DIM}, got {dim}")


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
        f"{arch}: a program; its barriers in a step; its instructions for a coefficient-step",
        ("rule", "d", "tile", "registers", "spill B", "stack B", "shared B", "warps/SM", "barriers", "instr.", "least",
         "ratio"),
    )  # fmt: skip
    for facts in found:
        tile = f"{facts['samples']} x {facts['warps']}w" + (" streamed" if facts["streamed"] else "")
        row = [tile, *(str(facts[key]) for key in ("registers", "spill_bytes", "stack_bytes", "shared_bytes"))]
        if facts["instructions_per_step"] is not None:
            count, least = facts["instructions_per_step"], facts["lower_bound"]["instructions_per_step"]
            row += [str(facts["resident_warps"]), f"{facts['barriers_per_step']:g}"]
            row += [f"{count:.1f}", f"{least:.1f}", f"{count / least:.2f}"]
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
        "never measured",
        ("rule", "d", "bound", "(16 to 64)", "limit", "least", "share", "eager", "+ product", "speed-up", "expected"),
    )
    for facts in found:
        on = facts["gpus"][gpu.name]
        names = ("bound", "bound_low", "bound_high", "mathematics", "eager_memory", "eager")
        giga = {name: f"{on[name] / 1e9:,.0f}" for name in names}
        expected = " to ".join(f"{rate / 1e9:,.0f}" for rate in on["expected"])
        between = f"{giga['bound_low']} to {giga['bound_high']}"
        table.add_row(
            *_what(facts), giga["bound"], between, on["resource"], giga["mathematics"], f"{on['share']:.0%}",
            giga["eager_memory"], giga["eager"], f"{on['speed_up']:.1f}", expected,
        )  # fmt: skip
    return table


LEGEND = """tile: samples and warps. least: the fewest instructions that the mathematics asks for, and their bound.
bound: issue slots, pipes and tensor cores perfectly busy; 16 to 64: lanes a clock of wide multiplications, whose
rate is not published (32 likely). eager: the PyTorch loop with the fewest passes over memory at full bandwidth;
+ product: and its matrix product in float32 at full rate. speed-up: bound over that. expected: 0.4 to 0.9 of the
bound, at the lower end with what mma.sync reaches of the tensor cores. Rates, sources: kernels/roofline.py."""


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
    parser.add_argument("--predict", type=Path, metavar="FILE", help="write only the predictions for bench/gpu.py")
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
        options.predict.write_text(_text(predictions()))
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
