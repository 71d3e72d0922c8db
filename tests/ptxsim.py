"""Runs the PTX of a compiled kernel on the CPU, with NumPy, and checks it while it runs.

What is modelled
    Every thread of the launch is one NumPy lane; all CTAs run at once. Each lane has its own program
    counter and the lane group that is earliest in the control-flow order runs next, so diverged lanes meet
    again at the post-dominator of their branch. ``bar.sync`` is a real barrier of the CTA.

What is checked
    * global accesses against the exact extent of their buffer; shared and local extents; alignment;
    * ``shared_races``: bytes of shared memory that two warps touch between the same two barriers, one of
      them writing. Equal bytes stored by one instruction of several warps (a replicated layout) are no race.
      A ``cp.async`` counts as unfinished, for everybody, until its thread waits for its group;
    * ``global_conflicts``: bytes of global memory that two CTAs touch, one of them writing;
    * warp collectives by lanes that are not the ones named, barriers by a part of a warp, deadlock.

What is not modelled
    Time, caches, ptxas, the memory model within a warp and between fences, global races within a CTA,
    clusters, mbarrier, TMA, atomics, wgmma, tcgen05, generic addresses, calls. Whatever is not in the table
    of opcodes, or carries a modifier that its entry does not name, raises ``SimError`` when it is executed.

Numerics
    Integers are exact. add, sub, mul, fma, div.rn, sqrt.rn and rcp.rn are rounded once, to nearest even.
    ``.approx`` and ``div.full`` are rounded correctly too, then moved by up to ``approx_ulp`` units in the
    last place (float32 only); the move is a function of the value, so that replicated lanes agree.
    mma reads tf32 operands without their low 13 bits, sums in float64 and rounds once: the hardware's order
    and width of accumulation are not specified. Memory and registers start as all ones, a NaN in each format.
"""

from __future__ import annotations

import collections
import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Argument: TypeAlias = "Array | int | float | np.generic | None"
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
        ty, names = re.fullmatch(r"\.reg\s+\.(\w+)\s+(.*)", statement, re.S).groups()  # type: ignore[union-attr]
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


# ---------------------------------------------------------------------------------------- floating point


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def _add_to_odd(a: Array, b: Array) -> Array:
    """a + b in float64, rounded to odd: rounding it once more, to fewer bits, gives the exact rounding."""
    s, error = _two_sum(a, b)
    fix = (error != 0) & np.isfinite(s) & ((s.view(U64) & U64(1)) == 0)
    return np.where(fix, np.nextafter(s, np.where(error > 0, np.inf, -np.inf)), s)


def _fma32(a: Array, b: Array, c: Array) -> Array:
    product, addend = a.astype(F64) * b.astype(F64), c.astype(F64)  # the product is exact
    total = product + addend
    # Rounding twice differs from rounding once only if the first lands midway between two float32 numbers.
    midway = (total.view(U64) & U64(0x1FFFFFFF)) == U64(0x10000000)
    if midway.any() or (np.abs(total) < 2.0**-126).any():
        total = _add_to_odd(product, addend)
    return total.astype(F32)


def _split(a: Array) -> tuple[Array, Array]:
    high = a * 134217729.0
    high = high - (high - a)
    return high, a - high


def _fma64(a: Array, b: Array, c: Array) -> Array:
    """Boldo and Melquiond's emulation; exact unless an intermediate overflows or underflows."""
    product = a * b
    (ah, al), (bh, bl) = _split(a), _split(b)
    low = ((ah * bh - product) + ah * bl + al * bh) + al * bl
    t, t_error = _two_sum(c, low)
    v, v_error = _two_sum(product, t)
    exact = v + _add_to_odd(t_error, v_error)
    return np.where(np.isfinite(exact), exact, product + c)


def fma(a: Array, b: Array, c: Array, ty: str) -> Array:
    if ty == "f64":
        return _fma64(a, b, c)
    if ty.startswith("f32"):
        return _fma32(a, b, c)
    return narrow(_add_to_odd(a.astype(F64) * b.astype(F64), c.astype(F64)), ty)


def narrow(x: Array, ty: str) -> Array:
    """float64 to the precision of a type, rounded once; bf16 stays in float32, rounded."""
    if not ty.startswith("bf16"):
        return x.astype(DTYPE[ty.removesuffix("x2")])
    y = x.astype(F32)
    back = y.astype(F64)
    inexact = (back != x) & np.isfinite(back) & ((y.view(U32) & U32(1)) == 0)
    odd = np.where(inexact, np.nextafter(y, np.where(x > back, F32(np.inf), F32(-np.inf))), y)
    return unpack(_bf16_bits(odd), "bf16")


def _bf16_bits(x: Array) -> Array:
    """Nearest even; every NaN becomes 0x7fff."""
    bits = np.ascontiguousarray(x, F32).view(U32)
    rounded = (bits + U32(0x7FFF) + ((bits >> U32(16)) & U32(1))) >> U32(16)
    words: Array = np.where(np.isnan(x), U32(0x7FFF), rounded).astype(U16)
    return words


def flush(x: Array) -> Array:
    return np.where(np.abs(x) < F32(2.0**-126), np.copysign(F32(0), x), x) if x.dtype == F32 else x


def unpack(bits: Array, ty: str) -> Array:
    """Values of unsigned words; packed types get a second axis. bf16 values are held in float32."""
    if ty.startswith("bf16"):
        wide: Array = (bits.view(U16).astype(U32) << U32(16)).view(F32)
        return wide.reshape(-1, 2) if ty == "bf16x2" else wide
    if ty.endswith("x2"):
        halves: Array = bits.view(DTYPE[ty[:-2]]).reshape(-1, 2)
        return halves
    return bits.view(DTYPE[ty])


def pack(values: Array, ty: str) -> Array:
    if ty.startswith("bf16"):
        values = _bf16_bits(values)
    elif values.dtype != (dtype := np.dtype(DTYPE[ty.removesuffix("x2")])):
        values = values.astype(dtype)
    if ty.endswith("x2"):
        words: Array = np.ascontiguousarray(values).view(UNSIGNED[WIDTH[ty]])[:, 0]
        return words
    return np.ascontiguousarray(values)


# ------------------------------------------------------------------------------------------------ memory


class AccessLog:
    """Who touched each granule of a memory; an agent is a warp or a CTA.

    A key is ``epoch << shift | agent``. Accesses conflict if the epochs agree, the agents do not, and one of
    the two writes. The agent with all bits set stands for several readers.
    """

    def __init__(self, size: int, granule: int, agents: int) -> None:
        self.granule, self.shift = granule, (agents + 1).bit_length()
        self.writer = np.full(-(-size // granule), -1, I64)
        self.reader = self.writer.copy()
        self.pending = np.zeros(len(self.writer), np.bool_)  # cp.async not yet waited for

    def places(self, offsets: Array, nbytes: int) -> Array:
        return (offsets // self.granule)[:, None] + np.arange(nbytes // self.granule)

    def _clash(self, log: Array, key: Array) -> Array:
        mask: Array = (log != key) & ((log ^ key) >> self.shift == 0)
        return mask

    def read(self, at: Array, key: Array) -> Array:
        """Mask of conflicts."""
        several = key | ((1 << self.shift) - 1)
        self.reader[at] = np.where(self._clash(self.reader[at], key), several, key)
        left = self.reader[at]
        mixed = (left != key) & (left != several)  # two agents in this very instruction
        self.reader[at[mixed]] = np.broadcast_to(several, at.shape)[mixed]
        return self._clash(self.writer[at], key) | self.pending[at]

    def write(self, at: Array, key: Array) -> tuple[Array, Array]:
        """Mask of conflicts with the past, and of those within this instruction."""
        past = self._clash(self.writer[at], key) | self._clash(self.reader[at], key) | self.pending[at]
        self.writer[at] = key
        return past, self.writer[at] != key


def gather(memory: Array, offsets: Array, nbytes: int) -> Array:
    unit = min(nbytes, 8)
    rows: Array = memory.view(UNSIGNED[unit]).reshape(-1, nbytes // unit)[offsets // nbytes]
    return rows


def scatter(memory: Array, offsets: Array, nbytes: int, data: Array) -> None:
    unit = min(nbytes, 8)
    memory.view(UNSIGNED[unit]).reshape(-1, nbytes // unit)[offsets // nbytes] = data.view(UNSIGNED[unit])


class GlobalMemory:
    """The buffers of a launch, 2^40 apart, so that no overrun of one lands in another."""

    SPACING = 40

    def __init__(self, granule: int, ctas: int) -> None:
        self.arrays: list[Array] = []
        self.granule, self.ctas = granule, ctas

    def add(self, array: Array) -> int:
        """Address of an array. It is copied now, and back after the run."""
        if not array.flags.c_contiguous:
            raise ValueError("an array argument must be contiguous")
        for i, known in enumerate(self.arrays):
            if known is array:
                return (i + 1) << self.SPACING
            if np.shares_memory(known, array):
                raise ValueError("two array arguments overlap")
        self.arrays.append(array)
        return len(self.arrays) << self.SPACING

    def load(self) -> None:
        self.sizes = np.array([a.nbytes for a in self.arrays], I64)
        padded = -(-self.sizes // 256) * 256
        self.starts = np.cumsum(padded) - padded
        self.data = np.zeros(int(padded.sum()), U8)
        self.log = AccessLog(len(self.data), self.granule, self.ctas)
        self.writeable = np.array([a.flags.writeable for a in self.arrays], np.bool_)
        for array, start in zip(self.arrays, self.starts):
            self.data[start : start + array.nbytes] = array.reshape(-1).view(U8)

    def store(self) -> None:
        for array, start in zip(self.arrays, self.starts):
            if array.flags.writeable:
                array.reshape(-1).view(U8)[:] = self.data[start : start + array.nbytes]

    def locate(self, addresses: Array, nbytes: int, writing: bool, where: str) -> Array:
        which = (addresses >> self.SPACING) - 1
        wild = (which < 0) | (which >= len(self.arrays))
        if wild.any():
            raise SimError(f"global address {int(addresses[wild][0]):#x} belongs to no buffer, at {where}")
        offsets = addresses & ((1 << self.SPACING) - 1)
        beyond = offsets + nbytes > self.sizes[which]
        if beyond.any():
            k = int(np.argmax(beyond))
            raise SimError(
                f"out of bounds: offset {int(offsets[k])} + {nbytes} in array {int(which[k])} of "
                f"{int(self.sizes[which[k]])} bytes, {int(beyond.sum())} lanes, at {where}"
            )
        if (offsets % nbytes).any():
            raise SimError(f"misaligned access of {nbytes} bytes to global memory at {where}")
        if writing and not self.writeable[which].all():
            raise SimError(f"store to a read-only array at {where}")
        located: Array = self.starts[which] + offsets
        return located


# ------------------------------------------------------------------------------------------------ launch


class Sim:
    """One launch of a kernel. ``run`` executes it and updates the arrays among ``args`` in place.

    Args:
        ptx: text of the kernel.
        grid: number of CTAs in up to three dimensions.
        shared: bytes of dynamic shared memory.
        args: arrays, integers and floats in the order of the parameters; further ones get 0.
        approx_ulp: largest move of the results of ``.approx`` operations.
        seed: chooses the moves.
        max_steps: more than this many steps raise ``SimError``.

    Attributes:
        shared_races, global_conflicts: conflicting bytes by instruction.
        count: executed warp-instructions by opcode.
        steps: issued instructions, each for any number of lanes.
    """

    def __init__(
        self,
        ptx: str,
        grid: Sequence[int],
        shared: int = 0,
        args: Sequence[Argument] = (),
        approx_ulp: int = 0,
        seed: int = 0,
        max_steps: int = 10**7,
    ) -> None:
        self.program = program = Program(ptx)
        self.grid = tuple(int(g) for g in (*grid, 1, 1, 1)[:3])
        self.threads, self.ctas = program.threads, int(np.prod(self.grid))
        self.n = self.threads * self.ctas
        self.lanes = np.arange(self.n)
        self.cta, self.warp = self.lanes // self.threads, self.lanes // WARP
        self.registers: dict[str, Array] = {}  # filled as they are used
        self.carry = np.zeros(self.n, np.bool_)
        self.approx_ulp, self.seed, self.max_steps = approx_ulp, seed, max_steps
        self.count: collections.Counter[str] = collections.Counter()
        self.shared_races: collections.Counter[str] = collections.Counter()
        self.global_conflicts: collections.Counter[str] = collections.Counter()
        self.steps = 0
        self._immediates: dict[tuple[str, str], Array] = {}
        self._special = self._special_registers()
        self._make_memory(shared, args)
        self.epoch = np.zeros(self.ctas, I64)
        # cp.async: groups committed per lane, and the copies in flight as (lanes, group, places in the log).
        self.groups = np.zeros(self.n, I64)
        self.in_flight: list[tuple[Array, Array, Array]] = []

    def _make_memory(self, shared: int, args: Sequence[Argument]) -> None:
        program = self.program
        self.shared_size = program.sizes["shared"] + int(shared)
        self.shared_stride = -(-max(self.shared_size, 1) // 128) * 128
        self.shared = np.full(self.ctas * self.shared_stride, 255, U8)
        self.shared_log = AccessLog(len(self.shared), self._granule("shared"), self.threads // WARP)
        self.local_stride = -(-max(program.sizes["local"], 1) // 16) * 16
        self.local = np.full(self.n * self.local_stride, 255, U8)
        self.memory = GlobalMemory(self._granule("global"), self.ctas)
        if len(args) > len(program.parameters):
            raise ValueError(f"{program.name} has {len(program.parameters)} parameters, got {len(args)} arguments")
        padded = [*args, *[0] * (len(program.parameters) - len(args))]
        self.parameters = {name: self._parameter(a, ty) for (name, ty), a in zip(program.parameters, padded)}
        self.symbols = program.symbols | {name: self.memory.add(data) for name, data in program.constants.items()}
        self.memory.load()

    def _granule(self, space: str) -> int:
        """Smallest access of the kernel: what the log of that memory resolves."""
        sizes = [_access_bytes(i) for i in self.program.code if any(p.split(":")[0] == space for p in i.parts)]
        return min([16, *sizes])

    def _parameter(self, value: Argument, ty: str) -> Array:
        width = WIDTH[ty]
        if isinstance(value, np.ndarray):
            value = self.memory.add(value)
        if isinstance(value, (float, np.floating)):
            return np.array([value], {4: F32, 8: F64}[width]).view(UNSIGNED[width])
        return np.array([int(value or 0) & ((1 << 8 * width) - 1)], UNSIGNED[width])

    def _special_registers(self) -> dict[str, Array]:
        x, y, _ = self.grid
        lane = self.lanes % WARP
        one = np.ones(self.n, I64)
        values = {
            **{"%tid.x": self.lanes % self.threads, "%tid.y": 0 * one, "%tid.z": 0 * one},
            **{"%ntid.x": self.threads * one, "%ntid.y": one, "%ntid.z": one},
            **{"%ctaid.x": self.cta % x, "%ctaid.y": self.cta // x % y, "%ctaid.z": self.cta // (x * y)},
            **{f"%nctaid.{axis}": g * one for axis, g in zip("xyz", self.grid)},
            **{"%laneid": lane, "%warpid": self.lanes % self.threads // WARP, "%nwarpid": self.threads // WARP * one},
            **{"%lanemask_eq": one << lane, "%lanemask_lt": (one << lane) - 1, "%lanemask_le": (2 << lane) - 1},
            **{"%lanemask_gt": 2**32 - (2 << lane), "%lanemask_ge": 2**32 - (one << lane)},
        }
        return {name: value.astype(U32) for name, value in values.items()}

    # ---- operands

    def _register(self, name: str) -> Array:
        register = self.registers.get(name)
        if register is None:
            dtype = self.program.registers[name]
            blank = False if dtype is np.bool_ else np.iinfo(dtype).max
            register = self.registers[name] = np.full(self.n, blank, dtype)
        return register

    def read(self, name: Operand, ty: str, lanes: Array) -> Array:
        if not isinstance(name, str):
            raise SimError(f"operand {name} is not a register or number")
        if ty == "pred":
            return self.read_predicate(name, lanes)
        register = self.registers.get(name)
        if register is None:
            register = self._special.get(name) if name not in self.program.registers else self._register(name)
        if register is None:
            return self._immediate(name, ty)[: len(lanes)]
        bits = register if len(lanes) == self.n else register[lanes]
        if bits.dtype.itemsize != (width := WIDTH[ty]):
            if bits.dtype.itemsize < width and name not in self._special:
                raise SimError(f"register {name} is narrower than .{ty}")
            bits = bits.astype(UNSIGNED[width])  # the low bits
        return unpack(bits, ty)

    def read_predicate(self, name: str, lanes: Array) -> Array:
        if name.startswith("!"):
            return ~self.read_predicate(name[1:], lanes)
        if name not in self.program.registers:
            return np.full(len(lanes), int(name, 0) != 0)
        values = self._register(name)
        return values if len(lanes) == self.n else values[lanes]

    def _immediate(self, text: str, ty: str) -> Array:
        """A number, or the address of a variable, for all lanes."""
        if (text, ty) not in self._immediates:
            width = WIDTH[ty]
            unsigned = UNSIGNED[width]
            if text[:2] in ("0f", "0F", "0d", "0D"):
                bits = int(text[2:], 16)
            elif text in self.symbols:
                bits = self.symbols[text]
            elif re.fullmatch(r"-?\d+\.\d*", text):
                bits = int(np.array([float(text)], DTYPE[ty]).view(unsigned)[0])
            elif re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", text):
                bits = int(text.rstrip("U"), 0)
            else:
                raise SimError(f"unknown operand {text}")
            self._immediates[text, ty] = unpack(np.full(self.n, bits & ((1 << 8 * width) - 1), unsigned), ty)
        return self._immediates[text, ty]

    def write(self, name: Operand, values: Array, lanes: Array) -> None:
        """Values as packed words; signed ones are extended by their sign into a wider register."""
        if name == "_":
            return
        if not isinstance(name, str) or name not in self.program.registers:
            raise SimError(f"unknown register {name}")
        register = self._register(name)
        if register.dtype != np.bool_:
            width = register.dtype.itemsize
            if values.dtype.itemsize > width:
                raise SimError(f"register {name} is too narrow for the result")
            if values.dtype.itemsize < width:
                values = values.astype(SIGNED[width] if values.dtype.kind == "i" else UNSIGNED[width])
            values = values.view(register.dtype)
        if len(lanes) == self.n:
            register[:] = values
        else:
            register[lanes] = values

    # ---- memory

    def addresses(self, address: Address, lanes: Array) -> Array:
        register = self._register(address.base) if address.base in self.program.registers else None
        if register is None:
            return self._immediate(address.base, "s64")[: len(lanes)] + address.offset
        return (register if len(lanes) == self.n else register[lanes]).astype(I64) + address.offset

    def access_global(
        self, addresses: Array, nbytes: int, lanes: Array, where: str, data: Array | None = None
    ) -> Array:
        """Reads, or writes ``data``: rows of words of up to 8 bytes per lane."""
        memory = self.memory
        offsets = memory.locate(addresses, nbytes, data is not None, where)
        at, key = memory.log.places(offsets, nbytes), self.cta[lanes][:, None]
        if data is None:
            bad = memory.log.read(at, key)
            data = gather(memory.data, offsets, nbytes)
        else:
            past, now = memory.log.write(at, key)
            bad = past | now
            scatter(memory.data, offsets, nbytes, data)
        self._report(self.global_conflicts, bad, memory.log, where)
        return data

    def _shared_offsets(self, addresses: Array, nbytes: int, lanes: Array, where: str) -> Array:
        if (addresses < 0).any() or (addresses + nbytes > self.shared_size).any():
            raise SimError(f"out of bounds of the {self.shared_size} bytes of shared memory at {where}")
        if (addresses % nbytes).any():
            raise SimError(f"misaligned access of {nbytes} bytes to shared memory at {where}")
        located: Array = addresses + self.cta[lanes] * self.shared_stride
        return located

    def _shared_key(self, lanes: Array) -> Array:
        key: Array = self.epoch[self.cta[lanes]] << self.shared_log.shift | self.lanes[lanes] % self.threads // WARP
        return key

    def access_shared(
        self, addresses: Array, nbytes: int, lanes: Array, where: str, data: Array | None = None, pending: bool = False
    ) -> Array:
        offsets = self._shared_offsets(addresses, nbytes, lanes, where)
        log, key = self.shared_log, self._shared_key(lanes)[:, None]
        at = log.places(offsets, nbytes)
        if data is None:
            self._report(self.shared_races, log.read(at, key), log, where)
            return gather(self.shared, offsets, nbytes)
        past, now = log.write(at, key)
        scatter(self.shared, offsets, nbytes, data)
        if now.any():
            now &= (gather(self.shared, offsets, nbytes) != data.view(UNSIGNED[min(nbytes, 8)])).any(1)[:, None]
        self._report(self.shared_races, past | now, log, where)
        if pending:
            log.pending[at] = True
            self.in_flight.append((lanes, self.groups[lanes], at))
        return data

    def access_local(self, addresses: Array, nbytes: int, lanes: Array, where: str, data: Array | None = None) -> Array:
        beyond = (addresses < 0) | (addresses + nbytes > self.program.sizes["local"])
        if beyond.any() or (addresses % nbytes).any():
            raise SimError(f"misaligned or out of bounds of local memory at {where}")
        offsets = addresses + self.lanes[lanes] * self.local_stride
        if data is None:
            return gather(self.local, offsets, nbytes)
        scatter(self.local, offsets, nbytes, data)
        return data

    @staticmethod
    def _report(counter: collections.Counter[str], bad: Array, log: AccessLog, where: str) -> None:
        if bad.any():
            counter[where] += int(bad.sum()) * log.granule

    def finish_copies(self, lanes: Array, done: Array) -> None:
        """The copies of these lanes with a group below ``done`` count as written by their warp now."""
        limit = np.zeros(self.n, I64)
        limit[lanes] = done
        remaining = []
        for owners, group, at in self.in_flight:
            ready = group < limit[owners]
            places = at[ready]
            self.shared_log.pending[places] = False
            self.shared_log.writer[places] = self._shared_key(owners[ready])[:, None]
            if not ready.all():
                remaining.append((owners[~ready], group[~ready], at[~ready]))
        self.in_flight = remaining

    # ---- warps

    def present(self, lanes: Array) -> Array:
        """Bit mask of the given lanes in each warp of the launch."""
        there = np.zeros(self.n, I64)
        there[lanes] = 1
        return there.reshape(-1, WARP) @ (1 << np.arange(WARP, dtype=I64))

    def require_members(self, lanes: Array, members: Array, where: str) -> None:
        if (self.present(lanes)[self.warp[lanes]] != members.astype(I64)).any():
            raise SimError(f"warp collective by other lanes than those named (a diverged warp?) at {where}")

    def require_full_warps(self, lanes: Array, where: str) -> int:
        if len(lanes) != self.n:
            self.require_members(lanes, np.full(len(lanes), 2**32 - 1, I64), where)
        return len(lanes) // WARP

    # ---- execution

    def run(self) -> Sim:
        with np.errstate(all="ignore"):
            self._run()
        self.memory.store()
        return self

    def _run(self) -> None:
        code, ranks = self.program.code, schedule_ranks(self.program)
        self.pc, self.alive = np.zeros(self.n, I64), np.ones(self.n, np.bool_)
        self.waiting = np.full(self.n, -1, I64)  # number of the barrier that a lane waits at
        self.together: int | None = 0  # pc of all lanes, while they are at one
        while self.alive.any():
            now, lanes = self._next(ranks)
            if now >= len(code):
                raise SimError("a lane runs past the last instruction")
            self.steps += 1
            if self.steps > self.max_steps:
                raise SimError(f"more than {self.max_steps} steps")
            self._execute(code[now], now, lanes)

    def _next(self, ranks: Array) -> tuple[int, Array]:
        if self.together is not None:
            return self.together, self.lanes
        runnable = self.alive & (self.waiting < 0)
        if not runnable.any():
            where = {self.program.code[pc - 1].where for pc in np.unique(self.pc[self.alive])}
            raise SimError(f"deadlock: not all threads of a CTA reach the barrier at {', '.join(sorted(where))}")
        candidates = self.pc[runnable]
        now = int(candidates[np.argmin(ranks[candidates])])
        lanes = np.nonzero(runnable & (self.pc == now))[0]
        return now, self.lanes if len(lanes) == self.n else lanes

    def _execute(self, instruction: Instruction, now: int, lanes: Array) -> None:
        active = lanes
        if instruction.guard:
            name, negated = instruction.guard
            active = lanes[self.read_predicate(name, lanes) ^ negated]
            if len(active) == len(lanes):
                active = lanes
        warps = self.n // WARP if len(lanes) == self.n else np.count_nonzero(np.diff(self.warp[lanes])) + 1
        self.count[instruction.op] += int(warps)
        kind = instruction.parts[0]
        if kind == "bra":
            self._branch(lanes, active, now, self.program.target(instruction))
        elif kind in ("ret", "exit"):
            self.alive[active] = False
            self.together = None
            self.pc[lanes] = now + 1
        elif kind in ("bar", "barrier") and instruction.parts[1] == "sync":
            self._barrier(instruction, active)
            self.together = None
            self.pc[lanes] = now + 1
        else:
            if len(active):
                self._compute(instruction, active)
            self._advance(lanes, now + 1)

    def _advance(self, lanes: Array, following: int | Array) -> None:
        self.together = following if isinstance(following, int) and len(lanes) == self.n else None
        if self.together is None:
            self.pc[lanes] = following

    def _branch(self, lanes: Array, active: Array, now: int, target: int) -> None:
        if len(active) in (0, len(lanes)):
            return self._advance(lanes, target if len(active) else now + 1)
        following = np.full(self.n, now + 1, I64)
        following[active] = target
        return self._advance(lanes, following[lanes])

    def _barrier(self, instruction: Instruction, active: Array) -> None:
        """``bar.sync`` of all threads of a CTA; threads that have ended count as missing."""
        number, *count = (int(self.read(o, "u32", active[:1])[0]) for o in instruction.operands if len(active))
        if count and count[0] != self.threads:
            raise SimError(f"a barrier of a part of the CTA is not modelled, at {instruction.where}")
        self.require_full_warps(active, instruction.where)
        self.waiting[active] = number
        waiting = self.waiting.reshape(self.ctas, self.threads)
        ready = (waiting[:, 0] >= 0) & (waiting == waiting[:, :1]).all(1)
        waiting[ready] = -1
        self.epoch[ready] += 1

    def _compute(self, instruction: Instruction, lanes: Array) -> None:
        handler, modifiers = OPCODES.get(instruction.parts[0], (None, frozenset[str]()))
        unknown = [p for p in instruction.parts[1:] if p not in modifiers and p not in instruction.types]
        if handler is None or unknown:
            raise SimError(f"unsupported opcode {instruction.op} {unknown} at {instruction.where}")
        try:
            handler(Step(self, instruction, lanes))
        except (LookupError, ValueError, TypeError) as error:
            raise SimError(f"cannot execute {instruction.op}: {error!r}, at {instruction.where}") from error


@dataclass
class Step:
    """One instruction for the lanes that execute it."""

    sim: Sim
    instruction: Instruction
    lanes: Array

    def has(self, modifier: str) -> bool:
        return modifier in self.instruction.parts

    def choose(self, table: dict[str, Any]) -> Any:
        """Entry of the modifier that the opcode carries."""
        return table[next(p for p in self.instruction.parts[1:] if p in table)]

    @property
    def ty(self) -> str:
        return self.instruction.types[-1]

    @property
    def operands(self) -> tuple[Operand, ...]:
        return self.instruction.operands

    @property
    def where(self) -> str:
        return self.instruction.where

    def get(self, k: int, ty: str = "") -> Array:
        x = self.sim.read(self.operands[k], ty or self.ty, self.lanes)
        return flush(x) if self.has("ftz") else x

    def put(self, values: Array, ty: str = "", k: int = 0) -> None:
        ty = ty or self.ty
        if self.has("sat") and values.dtype.kind == "f":
            values = np.where(np.isnan(values), 0, np.clip(values, 0, 1)).astype(values.dtype)
        if self.has("ftz"):
            values = flush(values)
        self.sim.write(self.operands[k], values if ty == "pred" else pack(values, ty), self.lanes)

    def vector(self, k: int) -> tuple[str, ...]:
        operand = self.operands[k]
        if isinstance(operand, Address):
            raise SimError(f"operand {k} is an address at {self.where}")
        return operand.items if isinstance(operand, Vector) else (operand,)

    def stack(self, k: int, ty: str) -> Array:
        """The registers of a vector operand: (lanes, registers, values per register)."""
        columns = [self.sim.read(name, ty, self.lanes).reshape(len(self.lanes), -1) for name in self.vector(k)]
        return np.stack(columns, 1)

    def address(self, k: int) -> Array:
        operand = self.operands[k]
        if not isinstance(operand, Address):
            raise SimError(f"operand {k} is no address at {self.where}")
        return self.sim.addresses(operand, self.lanes)

    def pair(self, k: int = 0) -> tuple[str, str]:
        """``d|p``, where the second may be missing."""
        operand = self.operands[k]
        if not isinstance(operand, str):
            raise SimError(f"operand {k} is no register at {self.where}")
        first, _, second = operand.partition("|")
        return first, second or "_"


Handler: TypeAlias = Callable[[Step], None]
OPCODES: dict[str, tuple[Handler, frozenset[str]]] = {}


def opcode(names: str, modifiers: str = "") -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        for name in names.split():
            OPCODES[name] = handler, frozenset(modifiers.split())
        return handler

    return register


# ----------------------------------------------------------------------------------- moving and choosing


@opcode("mov")
def _mov(x: Step) -> None:
    if x.ty == "pred":
        return x.put(x.get(1))
    if isinstance(x.operands[1], Vector):
        part = f"b{8 * WIDTH[x.ty] // len(x.operands[1].items)}"
        words = np.ascontiguousarray(x.stack(1, part)[:, :, 0])
        return x.put(words.view(UNSIGNED[WIDTH[x.ty]])[:, 0], f"b{8 * WIDTH[x.ty]}")
    if isinstance(x.operands[0], Vector):
        names = x.operands[0].items
        dtype = UNSIGNED[WIDTH[x.ty] // len(names)]
        words = np.ascontiguousarray(x.get(1, f"b{8 * WIDTH[x.ty]}")).view(dtype).reshape(-1, len(names))
        for name, column in zip(names, words.T):
            x.sim.write(name, column.copy(), x.lanes)
        return None
    return x.put(x.get(1))


@opcode("cvta", "to global shared local const param")
def _cvta(x: Step) -> None:
    x.put(x.get(1))


@opcode("selp")
def _selp(x: Step) -> None:
    x.put(np.where(x.get(3, "pred"), x.get(1), x.get(2)))


@opcode("slct", "ftz")
def _slct(x: Step) -> None:
    ty, control = x.instruction.types
    x.put(np.where(x.get(3, control) >= 0, x.get(1, ty), x.get(2, ty)), ty)


@opcode("createpolicy", "fractional range L2:evict_first L2:evict_last L2:evict_normal L2:evict_unchanged")
def _createpolicy(x: Step) -> None:
    x.put(np.zeros(len(x.lanes), U64))  # a hint to the caches


@opcode("fence membar", "proxy async async:generic acq_rel sc cta gpu sys gl cluster global shared:cta")
def _fence(x: Step) -> None:
    pass  # lanes run in program order


@opcode("bar", "warp sync")
def _warp_barrier(x: Step) -> None:
    pass  # the order within a warp is not modelled


@opcode("griddepcontrol prefetch nanosleep", "wait launch_dependents global L1 L2")
def _nothing(x: Step) -> None:
    pass


@opcode("trap")
def _trap(x: Step) -> None:
    raise SimError(f"trap at {x.where}")


# ---------------------------------------------------------------------------------------------- integers


def _wide(ty: str) -> str:
    return f"{ty[0]}{2 * int(ty[1:])}"


@opcode("and or xor not")
def _bitwise(x: Step) -> None:
    if x.has("not"):
        return x.put(~x.get(1))
    function = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[x.instruction.parts[0]]
    return x.put(function(x.get(1), x.get(2)))


@opcode("lop3")
def _lop3(x: Step) -> None:
    a, b, c = (x.get(k) for k in (1, 2, 3))
    table = int(x.get(4)[0])
    result = np.zeros_like(a)
    for k in range(8):
        if table >> k & 1:
            result |= (a if k & 4 else ~a) & (b if k & 2 else ~b) & (c if k & 1 else ~c)
    x.put(result)


@opcode("shl shr")
def _shift(x: Step) -> None:
    """Shifts by the width or more leave nothing, or the sign."""
    value, amount = x.get(1), x.get(2, "u32")
    bits = 8 * value.itemsize
    last = np.minimum(amount, bits - 1).astype(value.dtype)
    if x.has("shl"):
        return x.put(np.where(amount >= bits, 0, value << last).astype(value.dtype))
    beyond = value >> value.dtype.type(bits - 1) if x.ty[0] == "s" else np.zeros_like(value)
    return x.put(np.where(amount >= bits, beyond, value >> last))


@opcode("shf", "l r wrap clamp")
def _funnel_shift(x: Step) -> None:
    low, high, amount = (x.get(k, "u32").astype(U64) for k in (1, 2, 3))
    amount = amount & U64(31) if x.has("wrap") else np.minimum(amount, U64(32))
    both = high << U64(32) | low
    x.put(both << amount >> U64(32) if x.has("l") else both >> amount)


def _low_mask(bits: Array) -> Array:
    """uint64 words with that many low bits set, up to 64."""
    some = (U64(1) << np.minimum(bits, 63).astype(U64)) - U64(1)
    mask: Array = np.where(bits >= 64, ~U64(0), some)
    return mask


@opcode("bfe")
def _bit_field_extract(x: Step) -> None:
    width = 8 * WIDTH[x.ty]
    value = x.get(1, f"u{width}").astype(U64)
    start, length = (x.get(k, "u32").astype(I64) & 255 for k in (2, 3))
    mask = _low_mask(np.clip(np.minimum(length, width - start), 0, None))
    field = np.where(start < width, value >> np.minimum(start, 63).astype(U64), U64(0)) & mask
    if x.ty[0] == "s":  # fill with the field's last bit, or the word's where the field reaches beyond it
        sign = value >> np.clip(start + length - 1, 0, width - 1).astype(U64) & U64(1)
        field |= np.where((sign == 1) & (length > 0), ~mask, U64(0))
    x.put(field)


@opcode("bfi")
def _bit_field_insert(x: Step) -> None:
    part, value = x.get(1).astype(U64), x.get(2).astype(U64)
    start, length = (x.get(k, "u32").astype(I64) & 255 for k in (3, 4))
    shift = np.minimum(start, 63).astype(U64)
    mask = np.where(start < 64, _low_mask(length) << shift, U64(0))
    x.put(value & ~mask | part << shift & mask)


def _bits(value: Array) -> Array:
    """Bits of each word, lowest first: (lanes, width)."""
    return np.unpackbits(value.view(U8).reshape(len(value), -1), axis=1, bitorder="little")


@opcode("popc clz brev")
def _bit_count(x: Step) -> None:
    bits = _bits(np.ascontiguousarray(x.get(1)))
    if x.has("brev"):
        return x.put(np.packbits(bits[:, ::-1], axis=1, bitorder="little").view(UNSIGNED[WIDTH[x.ty]])[:, 0])
    if x.has("popc"):
        return x.put(bits.sum(1), "u32")
    return x.put(np.where(bits.any(1), bits[:, ::-1].argmax(1), bits.shape[1]), "u32")


@opcode("prmt")
def _permute_bytes(x: Step) -> None:
    source = np.stack([x.get(1), x.get(2)], 1).view(U8)
    selector = x.get(3)[:, None] >> np.arange(0, 16, 4, dtype=U32)
    chosen = np.take_along_axis(source, (selector & U32(7)).astype(I64), 1)
    sign = np.where(chosen & U8(128), U8(255), U8(0))
    x.put(np.where(selector & U32(8), sign, chosen).view(U32)[:, 0])


def _multiply_high(a: Array, b: Array, ty: str) -> Array:
    if WIDTH[ty] < 8:
        wide = _wide(ty)
        shift = DTYPE[wide](8 * WIDTH[ty])
        product: Array = (a.astype(DTYPE[wide]) * b.astype(DTYPE[wide]) >> shift).astype(DTYPE[ty])
        return product
    mask, half = U64(0xFFFFFFFF), U64(32)
    x, y = a.view(U64), b.view(U64)
    middle = (x >> half) * (y & mask) + ((x & mask) * (y & mask) >> half)
    carry = (x & mask) * (y >> half) + (middle & mask)
    high = (x >> half) * (y >> half) + (middle >> half) + (carry >> half)
    if ty[0] == "s":
        high = high - np.where(a < 0, y, U64(0)) - np.where(b < 0, x, U64(0))
    result: Array = high.view(DTYPE[ty])
    return result


def _product(x: Step) -> tuple[Array, str]:
    """Integer product of operands 1 and 2, and its type."""
    a, b, ty = x.get(1), x.get(2), x.ty
    if x.has("wide"):
        wide = _wide(ty)
        return a.astype(DTYPE[wide]) * b.astype(DTYPE[wide]), wide
    if x.has("hi"):
        return _multiply_high(a, b, ty), ty
    if not x.has("lo"):
        raise SimError(f"integer product without .lo, .hi or .wide at {x.where}")
    return a * b, ty


def _add_with_carry(x: Step, a: Array, b: Array, carry_in: bool) -> Array:
    """a + b, plus the carry; ``.cc`` keeps the new one."""
    a, b = (np.ascontiguousarray(v).view(UNSIGNED[v.itemsize]) for v in (a, b))
    carry = x.sim.carry[x.lanes] if carry_in else np.zeros(len(x.lanes), np.bool_)
    partial = a + b
    total: Array = partial + carry.astype(a.dtype)
    if x.has("cc"):
        x.sim.carry[x.lanes] = (partial < a) | (total < partial)
    return total


@opcode("mad madc", "lo hi wide cc")
def _mad(x: Step) -> None:
    product, ty = _product(x)
    x.put(_add_with_carry(x, product, x.get(3, ty), x.has("madc")), ty)


@opcode("addc", "cc")
def _addc(x: Step) -> None:
    x.put(_add_with_carry(x, x.get(1), x.get(2), True))


@opcode("subc", "cc")
def _subc(x: Step) -> None:
    a, b = x.get(1), x.get(2)
    borrow = x.sim.carry[x.lanes]
    x.put(a - b - borrow.astype(a.dtype))
    if x.has("cc"):
        ua, ub = a.view(UNSIGNED[a.itemsize]), b.view(UNSIGNED[b.itemsize])
        x.sim.carry[x.lanes] = (ua < ub) | ((ua == ub) & borrow)


@opcode("rem")
def _rem(x: Step) -> None:
    a, b = x.get(1), x.get(2)
    x.put(a - _quotient(x, a, b) * b)


def _quotient(x: Step, a: Array, b: Array) -> Array:
    if (b == 0).any():
        raise SimError(f"integer division by zero at {x.where}")
    quotient = a // b
    truncated: Array = quotient + ((a - quotient * b != 0) & ((a < 0) ^ (b < 0))).astype(a.dtype)  # towards zero
    return truncated


# ---------------------------------------------------------------------------------------- floating point


@opcode("add sub mul", "rn ftz sat cc lo hi wide")
def _add_sub_mul(x: Step) -> None:
    kind, integer = x.instruction.parts[0], x.ty[0] in "usb" and not x.ty.startswith("bf")
    if integer and kind == "mul":
        return x.put(*_product(x))
    a, b = x.get(1), x.get(2)
    if integer and x.has("cc"):
        if kind == "sub":  # the carry flag holds the borrow
            x.sim.carry[x.lanes] = a.view(UNSIGNED[a.itemsize]) < b.view(UNSIGNED[b.itemsize])
            return x.put(a - b)
        return x.put(_add_with_carry(x, a, b, False))
    return x.put({"add": np.add, "sub": np.subtract, "mul": np.multiply}[kind](a, b))


@opcode("fma mad", "rn ftz sat lo hi wide cc")
def _fma(x: Step) -> None:
    if x.ty[0] in "us":
        return _mad(x)
    return x.put(fma(x.get(1), x.get(2), x.get(3), x.ty))


@opcode("min max", "ftz NaN")
def _min_max(x: Step) -> None:
    values = [x.get(k) for k in range(1, len(x.operands))]
    x.put(functools.reduce(functools.partial(_extreme, x.has("max"), x.has("NaN")), values))


def _extreme(largest: bool, propagate: bool, a: Array, b: Array) -> Array:
    if a.dtype.kind != "f":
        return np.maximum(a, b) if largest else np.minimum(a, b)
    if propagate:
        chosen = np.maximum(a, b) if largest else np.minimum(a, b)
    else:
        chosen = np.fmax(a, b) if largest else np.fmin(a, b)
    zeros = np.where(np.signbit(a) ^ largest, a, b)  # -0 is below +0
    return np.where((a == 0) & (b == 0), zeros, chosen)


@opcode("neg abs", "ftz")
def _neg_abs(x: Step) -> None:
    x.put((np.negative if x.has("neg") else np.abs)(x.get(1)))


@opcode("copysign")
def _copysign(x: Step) -> None:
    x.put(np.copysign(x.get(2), x.get(1)))


@opcode("testp", "finite infinite number notanumber normal subnormal")
def _testp(x: Step) -> None:
    value = x.get(1)
    size, tiny = np.abs(value), np.finfo(value.dtype).tiny
    tests = {"finite": np.isfinite(value), "infinite": np.isinf(value), "notanumber": np.isnan(value)}
    tests |= {"number": ~np.isnan(value), "subnormal": (size < tiny) & (size > 0)}
    x.put(x.choose(tests | {"normal": np.isfinite(value) & (size >= tiny)}), "pred")


def _approximate(x: Step, value: Array) -> Array:
    """float64 results to the type, moved by a few units in the last place as a function of the value."""
    result = narrow(value, x.ty)
    ulp = x.sim.approx_ulp
    if not ulp or x.ty != "f32" or x.has("rn"):
        return result
    mixed = (result.view(U32).astype(U64) + U64(x.sim.seed)) * U64(0x9E3779B97F4A7C15) >> U64(40)
    move = (mixed % U64(2 * ulp + 1)).astype(I64) - ulp
    moved = (result.view(I32) + move).astype(I32).view(F32)
    return np.where(np.isfinite(result) & (result != 0), moved, result)


@opcode("div", "rn ftz full approx")
def _div(x: Step) -> None:
    a, b = x.get(1), x.get(2)
    if a.dtype.kind != "f":
        return x.put(_quotient(x, a, b))
    return x.put(_approximate(x, a.astype(F64) / b.astype(F64)))


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    **{"ex2": np.exp2, "lg2": np.log2, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tanh": np.tanh},
    **{"rcp": lambda v: 1 / v, "rsqrt": lambda v: 1 / np.sqrt(v)},
}


@opcode(" ".join(FUNCTIONS), "approx rn ftz")
def _function(x: Step) -> None:
    x.put(_approximate(x, FUNCTIONS[x.instruction.parts[0]](x.get(1).astype(F64))))


COMPARISONS: dict[str, Callable[[Array, Array], Array]] = {
    **{"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater},
    **{"ge": np.greater_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal},
}


def _compare(a: Array, b: Array, name: str) -> Array:
    if a.dtype.kind != "f":
        return COMPARISONS[name](a, b)
    unordered = np.isnan(a) | np.isnan(b)
    if name in ("num", "nan"):
        return unordered if name == "nan" else ~unordered
    outcome = COMPARISONS[name[:2]](a, b)
    return outcome | unordered if name[-1] == "u" else outcome & ~unordered


COMPARE_NAMES = " ".join([*COMPARISONS, "num nan equ neu ltu leu gtu geu and or xor ftz"])
COMBINE: dict[str, Callable[[Array, Array], Array]] = {
    **{"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor},
}


def _compared(x: Step) -> Callable[[Array], Array]:
    """The comparison of an instruction, as a function that combines it or its opposite with operand 3."""
    combine = next((COMBINE[p] for p in x.instruction.parts if p in COMBINE), None)
    if combine is None:
        return lambda outcome: outcome
    other = x.get(3, "pred")
    return lambda outcome: combine(outcome, other)


@opcode("setp", COMPARE_NAMES)
def _setp(x: Step) -> None:
    outcome, combined = _compare(x.get(1), x.get(2), x.instruction.parts[1]), _compared(x)
    for name, value in zip(x.pair(), (outcome, ~outcome)):
        x.sim.write(name, combined(value), x.lanes)


@opcode("set", COMPARE_NAMES)
def _set(x: Step) -> None:
    ty = x.instruction.types[0]
    outcome = _compared(x)(_compare(x.get(1), x.get(2), x.instruction.parts[1]))
    if ty == "f32":
        return x.put(outcome.astype(F32), ty)
    return x.put(np.where(outcome, U32(2**32 - 1), U32(0)), ty)


# ------------------------------------------------------------------------------------------- conversions

TO_INTEGRAL: dict[str, Callable[[Array], Array]] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


@opcode("cvt", "rn rz rna rni rzi rmi rpi ftz sat relu")
def _cvt(x: Step) -> None:
    to, source = x.instruction.types[:2]
    if to == "tf32":
        return _cvt_tf32(x)
    if to.endswith("x2"):
        both = np.stack([x.get(2, source), x.get(1, source)], 1)  # the first operand is the upper half
        return x.put(_round(x, both.astype(F64), to), to)
    value = x.get(1, source)
    floating = value.dtype.kind == "f"
    if floating and any(x.has(mode) for mode in TO_INTEGRAL):
        value = x.choose(TO_INTEGRAL)(value)
    if to[0] in "us":
        return x.put(_to_integer(value, to, source) if floating or x.has("sat") else value, to)
    if floating:
        return x.put(_round(x, value.astype(F64), to) if WIDTH[to] < WIDTH[source] else value, to)
    if to == "f32":
        return x.put(value.astype(F32), to)  # from 64 bits too this rounds once
    return x.put(narrow(value.astype(F64), to), to)


def _round(x: Step, value: Array, to: str) -> Array:
    result = narrow(value, to)
    if x.has("rz"):
        element = to.removesuffix("x2")
        beyond = (np.abs(result.astype(F64)) > np.abs(value)).reshape(-1)
        bits = pack(result.reshape(-1), element).view(UNSIGNED[WIDTH[element]])
        result = unpack(bits - beyond.astype(bits.dtype), element).reshape(result.shape)
    return np.where(result < 0, 0, result).astype(result.dtype) if x.has("relu") else result


def _cvt_tf32(x: Step) -> None:
    bits = x.get(1, "b32")
    special = (bits & U32(0x7F800000)) == U32(0x7F800000)
    step = U32(0) if x.has("rz") else U32(0x1000) if x.has("rna") else U32(0xFFF) + (bits >> U32(13) & U32(1))
    rounded = np.where(special, bits, bits + step) & U32(0xFFFFE000)
    nan = special & ((bits & U32(0x7FFFFF)) != 0)
    x.put(np.where(nan, U32(0x7FFFFFFF), rounded), "b32")


def _to_integer(value: Array, to: str, source: str) -> Array:
    """Saturates. NaN becomes 0, or the highest bit where 64 bits take part."""
    limits = np.iinfo(DTYPE[to])
    if value.dtype.kind != "f":
        low = np.maximum(value, max(limits.min, np.iinfo(value.dtype).min))
        return np.minimum(low, min(limits.max, np.iinfo(value.dtype).max))
    wide = value.astype(F64)
    inside = (wide > float(limits.min)) & (wide < float(limits.max))
    result = np.where(inside, wide, 0).astype(DTYPE[to])
    result = np.where(wide >= float(limits.max), DTYPE[to](limits.max), result)
    result = np.where(wide <= float(limits.min), DTYPE[to](limits.min), result)
    nan = U64(1 << 63).astype(DTYPE[to]) if WIDTH[to] == 8 or source == "f64" else DTYPE[to](0)
    return np.where(np.isnan(wide), nan, result)


# ------------------------------------------------------------------------------------------------ memory

HINTS = (
    "nc relaxed weak volatile acquire release cta gpu sys ca cg cs cv lu wb wt shared:cta L2:cache_hint "
    "L2:64B L2:128B L2:256B L1:evict_first L1:evict_last L1:evict_normal L1:evict_unchanged L1:no_allocate "
    "L2:evict_first L2:evict_last L2:evict_normal"
)
SPACES = "global const shared shared:cta local"


def _access_bytes(instruction: Instruction) -> int:
    """Bytes per lane of a load, a store or a copy; 16 per row of a matrix."""
    kind = instruction.parts[0]
    if kind == "cp" and len(instruction.operands) > 2:
        return int(str(instruction.operands[2]), 0)
    if kind not in ("ld", "st"):
        return 16
    vector = next((int(p[1:]) for p in instruction.parts if re.fullmatch(r"v[248]", p)), 1)
    return vector * WIDTH[instruction.types[-1]]


def _space(x: Step) -> Callable[..., Array]:
    spaces = {"global": x.sim.access_global, "const": x.sim.access_global, "local": x.sim.access_local}
    spaces |= {"shared": x.sim.access_shared, "shared:cta": x.sim.access_shared}
    access: Callable[..., Array] = x.choose(spaces)
    return access


@opcode("ld", f"param v2 v4 v8 {SPACES} {HINTS}")
def _ld(x: Step) -> None:
    if x.has("param"):
        address = x.operands[1]
        if not isinstance(address, Address) or address.offset:
            raise SimError(f"a parameter is read as a whole only, at {x.where}")
        return x.put(np.repeat(x.sim.parameters[address.base], len(x.lanes)).view(DTYPE[x.ty]))
    words = _space(x)(x.address(1), _access_bytes(x.instruction), x.lanes, x.where)
    columns = words.view(DTYPE.get(x.ty, UNSIGNED[WIDTH[x.ty]]))
    for name, column in zip(x.vector(0), columns.T):
        x.sim.write(name, np.ascontiguousarray(column), x.lanes)
    return None


@opcode("st", f"v2 v4 v8 {SPACES} {HINTS}")
def _st(x: Step) -> None:
    words = np.ascontiguousarray(x.stack(1, f"b{8 * WIDTH[x.ty]}")[:, :, 0])
    _space(x)(x.address(0), _access_bytes(x.instruction), x.lanes, x.where, words)


@opcode("cp", f"async commit_group wait_group wait_all {SPACES} {HINTS}")
def _cp_async(x: Step) -> None:
    sim, lanes = x.sim, x.lanes
    if x.has("commit_group"):
        sim.groups[lanes] += 1
    elif x.has("wait_all"):
        sim.groups[lanes] += 1
        sim.finish_copies(lanes, sim.groups[lanes])
    elif x.has("wait_group"):
        sim.finish_copies(lanes, sim.groups[lanes] - x.get(0, "s64"))
    else:
        _issue_copy(x)


def _issue_copy(x: Step) -> None:
    """Copies at once, but the log holds the bytes as pending; bytes beyond the source's size become 0."""
    nbytes, given = _access_bytes(x.instruction), np.full(len(x.lanes), _access_bytes(x.instruction), I64)
    if len(x.operands) > 3 and not x.has("L2:cache_hint"):
        ignored = x.operands[3]
        if isinstance(ignored, str) and x.sim.program.registers.get(ignored) is np.bool_:
            given[x.get(3, "pred")] = 0
        else:
            given = np.minimum(x.get(3, "u32").astype(I64), nbytes)
    data = np.zeros((len(x.lanes), nbytes), U8)
    some = given > 0
    if ((given != nbytes) & some).any():
        raise SimError(f"a copy of a part of its bytes is not modelled, at {x.where}")
    if some.any():
        data[some] = x.sim.access_global(x.address(1)[some], nbytes, x.lanes[some], x.where).view(U8)
    x.sim.access_shared(x.address(0), nbytes, x.lanes, x.where, data, pending=True)


MATRIX = "sync aligned m8n8 x1 x2 x4 trans shared shared:cta"


def _matrix_rows(x: Step, address: int, matrices: int) -> tuple[Array, Array]:
    """Lane 8 m + r of a warp names row r of matrix m: addresses, and those lanes."""
    x.sim.require_full_warps(x.lanes, x.where)
    named = x.lanes % WARP < 8 * matrices
    return x.address(address)[named], x.lanes[named]


@opcode("ldmatrix", MATRIX)
def _ldmatrix(x: Step) -> None:
    names = x.vector(0)
    addresses, lanes = _matrix_rows(x, 1, len(names))
    rows = x.sim.access_shared(addresses, 16, lanes, x.where)
    elements = rows.view(U16).reshape(-1, len(names), 8, 8)
    if x.has("trans"):
        elements = elements.swapaxes(2, 3)
    words = np.ascontiguousarray(elements).view(U32).reshape(-1, len(names), WARP)
    for i, name in enumerate(names):
        x.sim.write(name, words[:, i].reshape(-1), x.lanes)


@opcode("stmatrix", MATRIX)
def _stmatrix(x: Step) -> None:
    n = len(x.vector(1))
    addresses, lanes = _matrix_rows(x, 0, n)
    words = x.stack(1, "b32")[:, :, 0].reshape(-1, WARP, n).swapaxes(1, 2)
    elements = np.ascontiguousarray(words).view(U16).reshape(-1, n, 8, 8)
    if x.has("trans"):
        elements = np.ascontiguousarray(elements.swapaxes(2, 3))
    x.sim.access_shared(addresses, 16, lanes, x.where, elements.reshape(-1, 8).view(U64))


# ------------------------------------------------------------------------------------------------- warps


@opcode("shfl", "sync up down bfly idx")
def _shfl(x: Step) -> None:
    """The control word c: bits 0-4 clamp the source lane, bits 8-12 split the warp into segments."""
    x.sim.require_members(x.lanes, x.get(4, "u32"), x.where)
    lane, delta, control = x.lanes % WARP, x.get(2, "u32").astype(I64) & 31, x.get(3, "u32").astype(I64)
    segment = control >> 8 & 31
    last, first = lane & segment | control & 31 & ~segment, lane & segment
    sources = {"up": lane - delta, "down": lane + delta, "bfly": lane ^ delta, "idx": first | delta & ~segment}
    source = x.choose(sources)
    valid = source >= last if x.has("up") else source <= last
    source = np.where(valid, source, lane) + x.lanes - lane
    values, there = np.zeros(x.sim.n, U32), np.zeros(x.sim.n, np.bool_)
    values[x.lanes], there[x.lanes] = x.get(1, "b32"), True
    if not there[source].all():
        raise SimError(f"shfl reads a lane that does not take part at {x.where}")
    result, predicate = x.pair()
    x.sim.write(result, values[source], x.lanes)
    x.sim.write(predicate, valid, x.lanes)


@opcode("activemask")
def _activemask(x: Step) -> None:
    x.put(x.sim.present(x.lanes)[x.sim.warp[x.lanes]])


@opcode("vote", "sync all any uni ballot")
def _vote(x: Step) -> None:
    x.sim.require_members(x.lanes, x.get(2, "u32"), x.where)
    warp = x.sim.warp[x.lanes]
    voters, yes = x.sim.present(x.lanes)[warp], x.sim.present(x.lanes[x.get(1, "pred")])[warp]
    if x.has("ballot"):
        return x.put(yes)
    every, some = yes == voters, yes != 0
    return x.put(x.choose({"all": every, "any": some, "uni": every | ~some}))


@opcode("redux", "sync add min max and or xor NaN abs")
def _redux(x: Step) -> None:
    x.sim.require_members(x.lanes, x.get(2, "u32"), x.where)
    values, warp = x.get(1), x.sim.warp[x.lanes]
    values = np.abs(values) if x.has("abs") else values
    names = {"add": np.add, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
    low, high = (np.minimum, np.maximum) if x.has("NaN") else (np.fmin, np.fmax)
    starts = np.nonzero(np.diff(warp, prepend=-1))[0]
    totals = x.choose(names | {"min": low, "max": high}).reduceat(values, starts)
    x.put(np.repeat(totals, np.diff([*starts, len(warp)])).astype(values.dtype))


@opcode("elect", "sync")
def _elect(x: Step) -> None:
    members = x.get(1, "u32")
    x.sim.require_members(x.lanes, members, x.where)
    leader = _bits(members).argmax(1)
    result, predicate = x.pair()
    x.sim.write(result, leader.astype(U32), x.lanes)
    x.sim.write(predicate, x.lanes % WARP == leader, x.lanes)


@opcode("mma", "sync aligned m16n8k4 m16n8k8 m16n8k16 row col")
def _mma(x: Step) -> None:
    """D = A B + C for A (16, K) and B (K, 8).

    Lane 4 g + t holds, of A, rows g and g + 8 and in each block of 4 e columns the e from t e on, where e is
    the number of elements in a register; of B, the same elements of column g; of C and D, columns 2 t and
    2 t + 1 of rows g and g + 8.
    """
    result, ty, other, addend = x.instruction.types
    packed = {"tf32": "tf32", "bf16": "bf16x2", "f16": "f16x2"}
    if ty not in packed or other != ty or (result, addend) != ("f32", "f32"):
        raise SimError(f"unsupported types of mma at {x.where}")
    warps = x.sim.require_full_warps(x.lanes, x.where)
    a, b = _mma_values(x.stack(1, packed[ty]), ty), _mma_values(x.stack(2, packed[ty]), ty)
    elements, blocks = a.shape[2], b.shape[1]
    size = 4 * elements * blocks
    if not x.has(f"m16n8k{size}") or a.shape[1] != 2 * blocks:
        raise SimError(f"wrong number of registers for mma at {x.where}")
    # axes of the registers: warp, g, t, [block,] row half or block, element
    a = a.reshape(warps, 8, 4, blocks, 2, elements).transpose(0, 4, 1, 3, 2, 5).reshape(warps, 16, size)
    b = b.reshape(warps, 8, 4, blocks, elements).transpose(0, 3, 2, 4, 1).reshape(warps, size, 8)
    c = x.stack(3, "f32").reshape(warps, 8, 4, 2, 2).transpose(0, 3, 1, 2, 4).reshape(warps, 16, 8)
    d = (a @ b + c).astype(F32).reshape(warps, 2, 8, 4, 2).transpose(0, 2, 3, 1, 4).reshape(-1, 4)
    for name, column in zip(x.vector(0), d.T):
        x.sim.write(name, np.ascontiguousarray(column), x.lanes)


def _mma_values(registers: Array, ty: str) -> Array:
    if ty == "tf32":
        registers = (registers & U32(0xFFFFE000)).view(F32)
    return registers.astype(F64)


def launch(compiled: Any, grid: Sequence[int], *args: Argument, **options: Any) -> Sim:
    """Runs a kernel that Triton compiled for CUDA; arrays among ``args`` are updated in place."""
    return Sim(compiled.asm["ptx"], grid, compiled.metadata.shared, args, **options).run()
