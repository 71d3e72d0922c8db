"""What the machine code of a decode kernel says about its speed, counted without a GPU.

``kernels/roofline.py`` holds the rates and their sources. A bound is what no run can exceed, not a timing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from . import MAX_DIM, PRECISIONS, padded, roofline, sass

if TYPE_CHECKING:
    from .compiled import Compiled

ARCHS = (*roofline.OCCUPANCY, "gfx942", "gfx950")
RULES = tuple(roofline.EAGER)
STEPS = 4
"""Steps of one trip of the hot loop."""

DEFAULT_STEPS = (1, 2, 4, 8, 16, 32)
"""Asked by the default run: 4 of its 8 blocks of four steps are listed."""
ASKED = len(DEFAULT_STEPS) / DEFAULT_STEPS[-1]
"""Share of its thoughts."""

EXPECTED = 0.4, 0.9
"""Range in which a run should lie, as shares of its bound (see predict.TEXT)."""


class Analysis(NamedTuple):
    """What the machine code of a kernel does for one coefficient-step."""

    mix: roofline.Mix
    barriers_per_step: float
    """Barriers that a program waits at in one step."""
    local_memory: int
    """Loads and stores of the stack (LDL, STL) in the hot loop."""
    tensor_instructions: int
    """HMMA or HGMMA in the hot loop."""
    default_run: roofline.Mix | None
    """Of DEFAULT_STEPS: what listed blocks take besides under a name of its own, as if on pipes that are free. None of
    kernels whose loops have others inside."""
    loops: tuple[tuple[int, int], ...]
    """Trips in a block of four steps and instructions: of the hot loop and of rounds; if streamed, of the loop of
    steps, of what it does once in four of them, of slices and of rounds."""


def analyse(compiled: Compiled, dim: int, ones: int = 0) -> Analysis:
    """Count the hot loop of an NVIDIA kernel: four steps of BN x D coefficients, on 32 lanes a warp.

    Where the matrix stays on chip that is the innermost loop. Where it is streamed, it is the loop of single steps,
    with what branches skip but once in four of them, and in it the loop over slices of the matrix. A step that chooses
    ``ones`` coefficients has a loop besides, one round for each.
    """
    width = padded(dim)
    if compiled.streamed:
        hot = _streamed(compiled.assembly, dim, ones)
    elif ones:  # the four steps follow each other, and the loops of all four are in ``rounds``
        bodies, rounds = sass.nest_with_rounds(compiled.assembly, 2)
        hot = [(1, bodies[-1]), (ones, rounds)]
    else:
        hot = [(1, sass.hot_loop(compiled.assembly))]
    count: Counter[str] = Counter()
    for times, body in hot:
        for opcode in body:
            count[opcode] += times
    coefficient_steps = compiled.samples * width / (32 * compiled.warps) * STEPS
    named = Counter({name: n for name, n in count.items() if name != "NOP"})
    mix = _mix(named, coefficient_steps)
    return Analysis(
        mix,
        sum(n for name, n in named.items() if name.startswith("BAR")) / STEPS,
        sum(n for name, n in named.items() if name.startswith(("LDL", "STL"))),
        sum(n for name, n in named.items() if sass.pipe(name) == "tensor"),
        None if ones or compiled.streamed else _default_run(compiled, mix, coefficient_steps),
        tuple((times, sum(opcode != "NOP" for opcode in body)) for times, body in hot),
    )


def _streamed(assembly: str, dim: int, ones: int) -> list[tuple[int, list[str]]]:
    """Trips in a block of four steps, and opcodes: what is skipped draws for the whole block, or stores thoughts."""
    from .streamed import SLICE  # imports triton

    always, skipped, inner = sass.loop_of_single_steps(assembly)
    slices = [body for body in inner if any(sass.pipe(opcode) == "tensor" for opcode in body)]
    if len(slices) != 1:
        raise ValueError(f"assembly: expected one loop over slices of the matrix, got {len(slices)}")
    rounds = [opcode for body in inner if body is not slices[0] for opcode in body]
    trips = STEPS * -(-dim // SLICE.value)
    return [(STEPS, always), (1, skipped), (trips, slices[0]), *([(STEPS * ones, rounds)] if ones else [])]


def _default_run(compiled: Compiled, mix: roofline.Mix, of_a_block: float) -> roofline.Mix:
    """Of the loops whose trips are a block of four steps: one in the hot loop, or one that stores asked thoughts."""
    always, skipped = sass.around_the_hot_loop(compiled.assembly)
    hot = sum(opcode != "NOP" for opcode in sass.hot_loop(compiled.assembly))
    blocks = -(-DEFAULT_STEPS[-1] // STEPS)
    listed = len({(step - 1) // STEPS for step in DEFAULT_STEPS} | {0})
    more = (listed * (always - hot) + len(DEFAULT_STEPS) * skipped / STEPS) / (blocks * of_a_block)
    return mix._replace(pipes={**mix.pipes, "listed": more}, bytes=4 * ASKED)


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
        "shared_bytes": compiled.shared_bytes, "samples": compiled.samples, "warps": compiled.warps,
        "streamed": compiled.streamed,
    }  # fmt: skip
    if arch.startswith("gfx"):  # counted are only instructions of NVIDIA
        return facts
    found = analyse(compiled, dim, CONSTANTS[rule]["ONES"])
    least, least_default = (
        roofline.lower_bound(CONSTANTS[rule], padded(dim), precision, arch, asked) for asked in (0.0, ASKED)
    )
    default, gpus = found.default_run, [gpu for gpu in roofline.GPUS if gpu.arch == arch]
    facts |= {
        "instructions_per_step": found.mix.instructions,
        "resident_warps": roofline.resident_warps(arch, compiled.warps, compiled.registers, compiled.shared_bytes),
        "pipes": found.mix.pipes,
        "barriers_per_step": found.barriers_per_step,
        "local_memory": found.local_memory,
        "tensor_instructions": found.tensor_instructions,
        "default_run": default and default.instructions,
        "loops": found.loops,
        "lower_bound": {
            "instructions_per_step": least.instructions, "pipes": least.pipes,
            "default_run": default and least_default.instructions,
        },
        "gpus": {gpu.name: _on(gpu, rule, dim, found.mix, least, _share(gpu, compiled)) for gpu in gpus},
    }  # fmt: skip
    if default:
        for gpu in gpus:
            ours, ideal = roofline.bound(default, gpu), roofline.bound(least_default, gpu)
            facts["gpus"][gpu.name] |= {"default_run": ours.rate, "default_mathematics": ideal.rate}
    return facts


def _share(gpu: roofline.Gpu, compiled: Compiled) -> float:
    """Of the peak of the tensor cores, what the kernel's instructions are known to reach: wgmma all of it."""
    return 1.0 if "HGMMA" in compiled.assembly else gpu.mma_sync


def _on(gpu: roofline.Gpu, rule: str, dim: int, mix: roofline.Mix, least: roofline.Mix, share: float) -> dict[str, Any]:
    """What a kernel, the least work and an eager loop may reach on one GPU, in coefficient-steps per second.

    Args:
        gpu, rule, dim, mix, least: of the kernel.
        share: of the peak of the tensor cores, what its instructions reach.
    """
    ours, ideal, eager = roofline.bound(mix, gpu), roofline.bound(least, gpu), roofline.eager_bound(rule, gpu, dim)
    careful = roofline.bound(mix, gpu, share)
    return {
        "bound": ours.rate, "resource": ours.resource, "bound_low": ours.low, "bound_high": ours.high,
        "mathematics": ideal.rate, "mathematics_resource": ideal.resource, "share": ours.rate / ideal.rate,
        "eager_memory": roofline.eager_bound(rule, gpu, 0), "eager": eager, "speed_up": ours.rate / eager,
        "expected": [EXPECTED[0] * careful.rate, EXPECTED[1] * ours.rate],
        "cycles": roofline.cycles(mix, gpu),
    }  # fmt: skip


def _check(arch: str, rule: str, dim: int, precision: str) -> None:
    for name, value, choices in (("arch", arch, ARCHS), ("rule", rule, RULES), ("precision", precision, PRECISIONS)):
        if value not in choices:
            raise ValueError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")
    if not 1 <= dim <= MAX_DIM:
        raise ValueError(f"dim: expected an integer from 1 to {MAX_DIM}, got {dim}")
