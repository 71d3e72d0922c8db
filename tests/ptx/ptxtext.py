"""Text of a PTX kernel: its instructions, and the order in which diverged lanes run them. See ``ptxsim``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Operand: TypeAlias = "str | Vector | Address"

U8, U16, U32, U64 = np.uint8, np.uint16, np.uint32, np.uint64
I8, I16, I32, I64 = np.int8, np.int16, np.int32, np.int64
F16, F32, F64 = np.float16, np.float32, np.float64
UNSIGNED: dict[int, type[Any]] = {1: U8, 2: U16, 4: U32, 8: U64}
SIGNED: dict[int, type[Any]] = {1: I8, 2: I16, 4: I32, 8: I64}
DTYPE: dict[str, type[Any]] = {
    **{"b8": U8, "b16": U16, "b32": U32, "b64": U64, "u8": U8, "u16": U16, "u32": U32, "u64": U64},
    **{"s8": I8, "s16": I16, "s32": I32, "s64": I64, "f16": F16, "f32": F32, "f64": F64, "tf32": U32},
}
WIDTH = {ty: np.dtype(dtype).itemsize for ty, dtype in DTYPE.items()}
WIDTH |= {"bf16": 2, "f16x2": 4, "bf16x2": 4, "f32x2": 8}
WARP = 32


class SimError(Exception):
    """The kernel does something wrong, or something that the simulator does not know."""


# ------------------------------------------------------------------------------------------ program text


@dataclass(frozen=True)
class Vector:
    """``{a, b, ...}``"""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Address:
    """``[base + offset]``"""

    base: str
    offset: int


@dataclass(frozen=True)
class Instruction:
    op: str
    operands: tuple[Operand, ...]
    guard: tuple[str, bool] | None  # predicate register, negated
    where: str  # for messages

    @functools.cached_property
    def parts(self) -> list[str]:
        return self.op.replace("::", ":").split(".")

    @functools.cached_property
    def registers(self) -> tuple[str, ...]:
        """Names among the operands, in their order."""
        groups = [
            o.items if isinstance(o, Vector) else (o.base,) if isinstance(o, Address) else o.split("|")
            for o in self.operands
        ]
        return tuple(name for group in groups for name in group)

    @functools.cached_property
    def types(self) -> list[str]:
        return [p for p in self.parts[1:] if p in WIDTH or p == "pred"]


def _parse_operand(text: str) -> Operand:
    if text.startswith("{"):
        return Vector(tuple(item.strip() for item in text[1:-1].split(",")))
    if not text.startswith("["):
        return text
    found = re.fullmatch(r"\[\s*([%\w$.]+)\s*(?:\+\s*(-?\w+))?\s*\]", text)
    if not found:
        raise SimError(f"cannot read the operand {text}")
    return Address(found[1], int(found[2] or "0", 0))


def _split_operands(text: str) -> tuple[Operand, ...]:
    pieces = re.findall(r"\{[^}]*\}|\[[^\]]*\]|[^,\s][^,]*", text)
    return tuple(_parse_operand(piece.strip()) for piece in pieces)


class Program:
    """One kernel: instructions, registers, labels, and where its variables lie."""

    def __init__(self, ptx: str) -> None:
        self.files = {n: name.rsplit("/", 1)[-1] for n, name in re.findall(r'\.file\s+(\d+)\s+"([^"]*)"', ptx)}
        ptx = re.sub(r"//[^\n]*|/\*.*?\*/", "", ptx, flags=re.S)
        entry = re.search(r"\.entry\s+([\w$.]+)\s*\((.*?)\)(.*?)\{", ptx, re.S)
        if not entry:
            raise SimError("the text holds no .entry")
        self.name = entry[1]
        self.parameters = [(p[1], p[0]) for p in re.findall(r"\.param\s+\.(\w+)[^,]*?([\w$]+)\s*(?=,|$)", entry[2])]
        threads = re.search(r"\.reqntid\s+(\d+)", entry[3])
        if not threads or int(threads[1]) % WARP:
            raise SimError("the kernel needs .reqntid, a multiple of 32")
        self.threads = int(threads[1])
        self.registers: dict[str, type[Any]] = {}
        self.labels: dict[str, int] = {}
        self.code: list[Instruction] = []
        self.constants: dict[str, Array] = {}
        self.symbols: dict[str, int] = {}  # shared and local variables: offset in their space
        self.sizes = {"shared": 0, "local": 0}
        for statement in re.findall(r"^\s*(\.(?:visible|global|const|extern|shared)\b[^;()]*);", ptx, re.M):
            self._declare_variable(statement)
        self._read_body(ptx[entry.end() :])

    def _read_body(self, text: str) -> None:
        source, depth, at = "?", 1, 0
        token = re.compile(r"\s*(?:(\.loc\b[^\n]*)|([\w$]+):(?!:)|([{}])|([^;]*);)")
        while depth:
            found = token.match(text, at)
            if not found:
                raise SimError(f"cannot read the text at {text[at : at + 60]!r}")
            at = found.end()
            location, label, brace, statement = found.groups()
            if location:
                fields = re.findall(r"\d+", location)
                source = f"{self.files.get(fields[0], fields[0])}:{fields[1]}"
            elif label:
                self.labels[label] = len(self.code)
            elif brace:
                depth += 1 if brace == "{" else -1
            elif statement.startswith("."):
                self._declare(statement)
            elif statement:
                self._add(statement, source)

    def _declare(self, statement: str) -> None:
        if not statement.startswith(".reg"):
            return self._declare_variable(statement)
        declaration = re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", statement, re.S)
        if declaration is None:
            raise SimError(f"cannot read the declaration {statement}")
        ty, names = declaration.groups()
        dtype = np.bool_ if ty == "pred" else UNSIGNED[max(WIDTH[ty], 2)]
        for name in (n.strip() for n in names.split(",")):
            many = re.fullmatch(r"(.*)<(\d+)>", name)
            for register in [f"{many[1]}{i}" for i in range(int(many[2]))] if many else [name]:
                if self.registers.setdefault(register, dtype) is not dtype:
                    raise SimError(f"register {register} is declared twice, with two widths")
        return None

    def _declare_variable(self, statement: str) -> None:
        found = re.search(r"\.b(\d+)\s+([\w$]+)\[(\d*)\]\s*(?:=\s*\{(.*)\})?", statement, re.S)
        space = re.search(r"\.(global|const|shared|local)\b", statement)
        if not found or not space:
            return
        dtype, count = UNSIGNED[int(found[1]) // 8], int(found[3] or 0)
        if space[1] in self.sizes:
            start = -(-self.sizes[space[1]] // 128) * 128
            self.symbols[found[2]] = start
            self.sizes[space[1]] = start + count * np.dtype(dtype).itemsize
        else:
            values = [int(v, 0) for v in found[4].split(",")] if found[4] else []
            self.constants[found[2]] = np.array(values + [0] * (count - len(values)), dtype)

    def _add(self, statement: str, source: str) -> None:
        found = re.fullmatch(r"(?:@(!?)([%\w]+)\s+)?(\S+)\s*(.*)", statement.strip(), re.S)
        if not found:
            raise SimError(f"cannot read the statement {statement!r}")
        negated, register, op, operands = found.groups()
        text = " ".join(f"{op} {operands}".split())
        where = f"pc {len(self.code)} `{text}` ({source})"
        guard = (register, negated == "!") if register else None
        self.code.append(Instruction(op, _split_operands(operands), guard, where))

    def target(self, instruction: Instruction) -> int:
        name = instruction.operands[0]
        if not isinstance(name, str) or name not in self.labels:
            raise SimError(f"unknown branch target at {instruction.where}")
        return self.labels[name]


# ------------------------------------------------------------------------------------- control-flow order


def schedule_ranks(program: Program) -> Array:
    """Rank of every pc; lanes with the lowest rank run first.

    Reverse post-order of the control-flow graph in which whatever leaves a loop comes after the loop: lanes of
    a warp then wait for each other at the post-dominator of a branch, whatever the order of blocks in the text.
    """
    successors, block_of = _blocks(program)
    loops = _loops(successors)

    def outermost_first(a: int) -> Iterator[int]:
        return iter(sorted(successors[a], key=lambda b: sum(a in loop and b in loop for loop in loops)))

    seen, order, stack = {0}, list[int](), [(0, outermost_first(0))]
    while stack:
        block, rest = stack[-1]
        fresh = next((b for b in rest if b not in seen), None)
        if fresh is None:
            order.append(block)
            stack.pop()
        else:
            seen.add(fresh)
            stack.append((fresh, outermost_first(fresh)))
    rank_of = {block: rank for rank, block in enumerate(reversed(order))}
    n = len(program.code)
    ranks = [rank_of.get(block, n) * (n + 1) + pc for pc, block in enumerate(block_of)]
    return np.array([*ranks, 1 << 60], I64)


def _blocks(program: Program) -> tuple[dict[int, list[int]], list[int]]:
    """Successors of every basic block, named by its first pc; and the block of every pc."""
    code, n = program.code, len(program.code)
    leaders = {0}
    for pc, instruction in enumerate(code):
        kind = instruction.parts[0]
        if kind in ("bra", "ret", "exit"):
            leaders.add(pc + 1)
        if kind == "bra":
            leaders.add(program.target(instruction))
    starts = sorted(a for a in leaders if a < n)
    successors, block_of = {}, []
    for start, end in zip(starts, [*starts[1:], n]):
        block_of += [start] * (end - start)
        last = code[end - 1]
        kind = last.parts[0]
        following = [end] if last.guard or kind not in ("bra", "ret", "exit") else []
        following += [program.target(last)] if kind == "bra" else []
        successors[start] = [b for b in following if b < n]
    return successors, block_of


def _loops(successors: dict[int, list[int]]) -> list[set[int]]:
    """Natural loops: a header and what reaches its back edges without passing through it."""
    predecessors: dict[int, list[int]] = {a: [] for a in successors}
    for a, following in successors.items():
        for b in following:
            predecessors[b].append(a)
    dominators = {a: set(successors) for a in successors} | {0: {0}}
    changed = True
    while changed:
        changed = False
        for a in list(successors)[1:]:
            above = [dominators[b] for b in predecessors[a]]
            new = (set.intersection(*above) if above else set()) | {a}
            changed |= new != dominators[a]
            dominators[a] = new
    loops: dict[int, set[int]] = {}
    for a, following in successors.items():
        for header in (b for b in following if b in dominators[a]):
            body, stack = loops.setdefault(header, {header}), [a]
            while stack:
                block = stack.pop()
                if block not in body:
                    body.add(block)
                    stack += predecessors[block]
    return list(loops.values())
