"""Machine code of NVIDIA GPUs as nvdisasm prints it: loops, and the pipe of every instruction.

Nothing here imports Triton. The names of the instructions: CUDA Binary Utilities, chapter "Instruction
Set Reference". Which pipe executes them: Nsight Compute documentation, "Pipelines" in the metrics guide.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

_LABEL = re.compile(r"^\s*(\.L_x_\d+):")
_LINE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.x]*)\s*([^;]*);")
_TARGET = re.compile(r"`\((\.L_x_\d+)\)")

PIPES: dict[str, tuple[str, ...]] = {
    "fma": ("FFMA", "FMUL", "FADD", "FFMA2", "FMUL2", "FADD2", "FFMA32I", "FMUL32I", "HFMA2", "HADD2", "HMUL2"),
    "imad": ("IMAD",),
    "alu": (
        "LOP3", "SHF", "ISETP", "FSETP", "SEL", "FSEL", "FSET", "PRMT", "MOV", "LEA", "VIADD", "IADD", "IADD3", "PLOP3",
        "SGXT", "P2R", "R2P", "FMNMX", "IMNMX", "VIMNMX", "IABS", "I2FP", "F2FP", "I2IP", "BMSK", "VIADDMNMX", "LOP",
    ),
    "xu": ("MUFU", "I2F", "F2I", "F2F", "FRND", "POPC", "FLO", "BREV"),
    "tensor": ("HMMA", "HGMMA"),
    "lsu": ("LDS", "STS", "LDSM", "STSM", "LDG", "LDGSTS", "STG", "LDL", "STL", "LD", "ST", "LDC", "ATOM",
            "ATOMG", "RED"),
    "shuffle": ("SHFL", "VOTE", "REDUX", "MATCH"),
    "uniform": ("R2UR", "S2UR", "LDCU", "VOTEU"),
    "control": (
        "BRA", "BSSY", "BSYNC", "BAR", "EXIT", "WARPSYNC", "CALL", "RET", "DEPBAR", "LDGDEPBAR", "S2R", "CS2R", "YIELD",
        "BREAK", "NOP", "MEMBAR", "ERRBAR", "CCTL", "WARPGROUP", "FENCE",
    ),
}  # fmt: skip
"""Instructions of each pipe; "imad" without its wide products, which are a pipe of their own here, "wide"."""

_PIPE = {name: pipe for pipe, names in PIPES.items() for name in names}


class Instruction(NamedTuple):
    """One line of the listing."""

    opcode: str
    """With its modifiers, without its predicate: ``"IMAD.WIDE.U32"``."""
    target: str = ""
    """Label that it jumps to."""


class Loop(NamedTuple):
    """Positions of the first and of the last instruction, the branch back."""

    first: int
    last: int


def parse(assembly: str) -> tuple[list[Instruction], dict[str, int]]:
    """Instructions, and for every label the position of the instruction after it."""
    instructions: list[Instruction] = []
    labels: dict[str, int] = {}
    for line in assembly.splitlines():
        if label := _LABEL.match(line):
            labels[label.group(1)] = len(instructions)
        elif match := _LINE.search(line):
            target = _TARGET.search(match.group(2))
            instructions.append(Instruction(match.group(1), target.group(1) if target else ""))
    return instructions, labels


def loops(instructions: list[Instruction], labels: dict[str, int]) -> list[Loop]:
    """Loops in the order in which they begin; a branch to itself, which ends a listing, is none."""
    ends: dict[int, int] = {}
    for i, instruction in enumerate(instructions):
        first = labels.get(instruction.target, len(instructions))
        if instruction.opcode.startswith("BRA") and first < i:
            ends[first] = i  # the last branch back ends the loop
    return [Loop(first, last) for first, last in sorted(ends.items())]


def _nested(instructions: list[Instruction], labels: dict[str, int], levels: int = 0) -> list[Loop]:
    """The longest loop, that of the blocks of steps, and those in it: the first ``levels``, or all. Others prepare or
    end the first block of a resumed chain.

    Raises:
        ValueError: there are fewer, or none, or they are not one inside the other, so that trips cannot be told.
    """
    found = loops(instructions, labels)
    longest = max(found, key=lambda loop: loop.last - loop.first, default=Loop(0, -1))
    found = [loop for loop in found if longest.first <= loop.first <= loop.last <= longest.last]
    chain = found[:levels] if levels else found
    if len(chain) < max(levels, 1) or any(inner.last > outer.last for outer, inner in pairwise(chain)):
        many = f"{levels} loops" if levels else "loops"
        raise ValueError(f"assembly: expected {many} one inside the other, got {[tuple(loop) for loop in found]}")
    return found


def nest(assembly: str) -> list[list[str]]:
    """Bodies (opcodes) of the nested loops of the steps, outermost first; each without the loop inside it.

    Raises:
        ValueError: there is no loop, or not one inside the other, so that trips cannot be told.
    """
    instructions, labels = parse(assembly)
    found = _nested(instructions, labels)
    bodies = []
    for loop, inner in zip(found, [*found[1:], Loop(len(instructions), -1)]):
        outside = [i for i in range(loop.first, loop.last + 1) if not inner.first <= i <= inner.last]
        bodies.append([instructions[i].opcode for i in outside])
    return bodies


def nest_with_rounds(assembly: str, levels: int) -> tuple[list[list[str]], list[str]]:
    """As :func:`nest`, where steps have loops of their own, one after the other, with the same number of trips.

    Args:
        assembly: the listing.
        levels: number of the nested loops.

    Returns:
        Bodies of the nested loops, outermost first, each without the loops inside it; the bodies of the other loops
        in the second of them, put together.

    Raises:
        ValueError: there are fewer nested loops.
    """
    instructions, labels = parse(assembly)
    found = _nested(instructions, labels, levels)
    chain = found[:levels]
    bodies: dict[Loop, list[str]] = {loop: [] for loop in found}
    for i, instruction in enumerate(instructions):
        around = [loop for loop in found if loop.first <= i <= loop.last]
        if around:  # the last to begin is the innermost
            bodies[around[-1]].append(instruction.opcode)
    rounds = [bodies[loop] for loop in found[levels:] if loop.last < chain[1].last]
    return [bodies[loop] for loop in chain], [opcode for body in rounds for opcode in body]


def around_the_hot_loop(assembly: str) -> tuple[int, int]:
    """Instructions of the loop around the innermost one: those of every trip, and those that a branch may skip.

    Raises:
        ValueError: there are not two loops one inside the other.
    """
    instructions, labels = parse(assembly)
    outer, inner = _nested(instructions, labels, 2)[-2:]
    always, skipped = (
        sum(opcode != "NOP" for opcode in part) for part in _around(instructions, labels, outer, [inner])
    )
    return always, skipped


def loop_of_single_steps(assembly: str) -> tuple[list[str], list[str], list[list[str]]]:
    """Opcodes of the longest loop: of every trip, what a branch may skip, and the bodies of the loops in it.

    Raises:
        ValueError: there is no loop.
    """
    instructions, labels = parse(assembly)
    outer, *inner = _nested(instructions, labels, 1)
    bodies = [[one.opcode for one in instructions[loop.first : loop.last + 1]] for loop in inner]
    return *_around(instructions, labels, outer, inner), bodies


def _around(
    instructions: list[Instruction], labels: dict[str, int], outer: Loop, inner: list[Loop]
) -> tuple[list[str], list[str]]:
    """Opcodes of a loop that are in none of those inside it: of every trip, and those that a branch may skip."""
    places = set(range(outer.first, outer.last + 1)).difference(*(range(x.first, x.last + 1) for x in inner))
    skipped: set[int] = set()
    for i in places:
        end = labels.get(instructions[i].target, 0)
        over = any(i < loop.first < end for loop in inner)
        if instructions[i].opcode.startswith("BRA") and i < end <= outer.last and not over:
            skipped |= set(range(i + 1, end))
    always, seldom = ([instructions[i].opcode for i in sorted(part)] for part in (places - skipped, places & skipped))
    return always, seldom


def hot_loop(assembly: str) -> list[str]:
    """Opcodes of the innermost loop."""
    return nest(assembly)[-1]


def pipe(opcode: str) -> str:
    """Pipe that executes an instruction: a key of PIPES, ``"wide"``, or ``"other"`` if it is not known."""
    name = opcode.split(".")[0]
    if name == "IMAD" and (".WIDE" in opcode or ".HI" in opcode):
        return "wide"
    if name in _PIPE:
        return _PIPE[name]
    return "uniform" if name.startswith("U") else "other"


def wavefronts(opcode: str) -> int:
    """Passes of 128 bytes that a load or store of a warp needs at least: without bank conflicts."""
    name, *modifiers = opcode.split(".")
    if name in ("LDSM", "STSM"):  # 8 x 8 matrices of 16 bits
        return next((n for n in (4, 2) if str(n) in modifiers), 1)
    return 4 if "128" in modifiers else 2 if "64" in modifiers else 1


def float_lanes(opcode: str) -> int:
    """Results for each lane of an instruction of the fma pipe: Blackwell packs two in one instruction."""
    return 2 if opcode.split(".")[0] in ("FFMA2", "FMUL2", "FADD2") else 1


def tensor_products(opcode: str) -> int:
    """Fused multiply-adds of a warp's HMMA or HGMMA (a quarter of its warp group's), each counted as what it takes at
    the rate of bfloat16."""
    narrow = 2 if "TF32" in opcode else 1
    if match := re.match(r"HMMA\.168(\d+)\.", opcode):
        return 16 * 8 * int(match.group(1)) * narrow
    if match := re.match(r"HGMMA\.64x(\d+)x(\d+)\.", opcode):
        return 16 * int(match.group(1)) * int(match.group(2)) * narrow
    raise ValueError(f"opcode: expected HMMA of a shape m16n8k.. or HGMMA of m64n..k.., got {opcode!r}")
