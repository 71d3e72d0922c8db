"""The opcodes of PTX, one small function per family, and their table. See ``ptxsim``."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ptxtext import (
    DTYPE,
    F32,
    F64,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    UNSIGNED,
    WARP,
    WIDTH,
    Address,
    Array,
    Instruction,
    Operand,
    SimError,
    Vector,
)

if TYPE_CHECKING:
    from ptxsim import Sim

# ---------------------------------------------------------------------------------------- formats of numbers


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


# ------------------------------------------------------------------------------- one step, and the table


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


def access_bytes(instruction: Instruction) -> int:
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
    words = _space(x)(x.address(1), access_bytes(x.instruction), x.lanes, x.where)
    columns = words.view(DTYPE.get(x.ty, UNSIGNED[WIDTH[x.ty]]))
    for name, column in zip(x.vector(0), columns.T):
        x.sim.write(name, np.ascontiguousarray(column), x.lanes)
    return None


@opcode("st", f"v2 v4 v8 {SPACES} {HINTS}")
def _st(x: Step) -> None:
    words = np.ascontiguousarray(x.stack(1, f"b{8 * WIDTH[x.ty]}")[:, :, 0])
    _space(x)(x.address(0), access_bytes(x.instruction), x.lanes, x.where, words)


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
    nbytes, given = access_bytes(x.instruction), np.full(len(x.lanes), access_bytes(x.instruction), I64)
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


PACKED = {"tf32": "tf32", "bf16": "bf16x2", "f16": "f16x2"}  # type of a register of each type of element


@opcode("mma", "sync aligned m16n8k4 m16n8k8 m16n8k16 row col")
def _mma(x: Step) -> None:
    """D = A B + C for A (16, K) and B (K, 8).

    Lane 4 g + t holds, of A, rows g and g + 8 and in each block of 4 e columns the e from t e on, where e is
    the number of elements in a register; of B, the same elements of column g; of C and D, columns 2 t and
    2 t + 1 of rows g and g + 8.
    """
    result, ty, other, addend = x.instruction.types
    if ty not in PACKED or other != ty or (result, addend) != ("f32", "f32"):
        raise SimError(f"unsupported types of mma at {x.where}")
    warps = x.sim.require_full_warps(x.lanes, x.where)
    a, b = _mma_values(x.stack(1, PACKED[ty]), ty), _mma_values(x.stack(2, PACKED[ty]), ty)
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


@opcode(
    "wgmma",
    "fence commit_group wait_group mma_async sync aligned "
    + " ".join(f"m64n{n}k{k}" for n in range(8, 257, 8) for k in (8, 16)),
)
def _wgmma(x: Step) -> None:
    """D = A B + D for A (64, K) in registers or shared memory and B (K, N) in shared memory, both with K innermost.

    Computed at once; until the group is waited for, writes to the operands count as races. Each warp holds 16
    rows of A and D, as for mma. That fences come before the operands are read is not checked.
    """
    if x.has("fence") or x.has("commit_group"):
        if x.has("commit_group"):
            x.sim.matrix_groups[x.lanes] += 1
        return None
    if x.has("wait_group"):
        return x.sim.finish_products(x.lanes, x.sim.matrix_groups[x.lanes] - x.get(0, "s64"), x.where)
    shape = next(re.fullmatch(r"m64n(\d+)k(\d+)", part) for part in x.instruction.parts if part.startswith("m64"))
    result, ty, other = x.instruction.types
    scales = [int(str(o)) for o in x.operands[4:]]
    known = ty in PACKED and (result, other) == ("f32", ty) and scales in ([1, 1], [1, 1, 0], [1, 1, 0, 0])
    if not shape or not known:
        raise SimError(f"this form of wgmma is not modelled, at {x.where}")
    n, k = int(shape[1]), int(shape[2])
    warps = x.sim.require_full_warps(x.lanes, x.where)
    if warps % 4 or (x.sim.warp[x.lanes[::128]] % 4).any():
        raise SimError(f"wgmma by a part of a warp group at {x.where}")
    if isinstance(x.operands[1], Vector):
        a = _mma_values(x.stack(1, PACKED[ty]), ty)
        a = a.reshape(-1, 4, 8, 4, 2, 2, a.shape[2]).transpose(0, 1, 5, 2, 4, 3, 6).reshape(-1, 64, k)
    else:
        a = _shared_matrix(x, 1, 64, ty)
    b = _shared_matrix(x, 2, n, ty).swapaxes(1, 2)
    # axes of the registers: group, warp, g, t, block of 8 columns, row half, element
    d = x.stack(0, "f32").reshape(-1, 4, 8, 4, n // 8, 2, 2).transpose(0, 1, 5, 2, 4, 3, 6).reshape(-1, 64, n)
    d = (a @ b + np.where(x.get(3, "pred")[::128, None, None], d, 0)).astype(F32)
    d = d.reshape(-1, 4, 2, 8, n // 8, 4, 2).transpose(0, 1, 3, 5, 4, 2, 6).reshape(len(x.lanes), -1)
    for name, column in zip(x.vector(0), d.T):
        x.sim.write(name, np.ascontiguousarray(column), x.lanes)
    return None


def _shared_matrix(x: Step, operand: int, rows: int, ty: str) -> Array:
    """(groups, rows, K) values that a descriptor names: 32 bytes per row, as two pieces of 16 bytes.

    Bits 0-13, 16-29 and 32-45 hold, in units of 16 bytes, the start, the step between pieces (without swizzle)
    and the step between groups of 8 rows; bits 62-63 the swizzle. A swizzle over W = 128, 64 or 32 bytes puts
    rows W bytes apart and adds, modulo 2, bits 7 and up of an address to bits 4 and up.
    """
    descriptors = x.get(operand, "u64")
    if (descriptors.reshape(-1, 128) != descriptors[::128, None]).any():
        raise SimError(f"the descriptor differs within a warp group at {x.where}")
    descriptor = descriptors[::128].astype(I64)[:, None, None]
    start, piece_step, group_step = (((descriptor >> bit) & 0x3FFF) * 16 for bit in (0, 16, 32))
    mode, offset = int(descriptor[0, 0, 0] >> 62 & 3), descriptor >> 49 & 7
    if offset.any() or (descriptor >> 62 & 3 != mode).any():
        raise SimError(f"this descriptor of a matrix is not modelled, at {x.where}")
    row, piece = np.arange(rows)[:, None], np.arange(2)
    if mode == 0:
        addresses = start + row // 8 * group_step + row % 8 * 16 + piece * piece_step
    else:
        width = {1: 128, 2: 64, 3: 32}[mode]
        addresses = start + row // 8 * group_step + row % 8 * width + piece * 16
        addresses = addresses ^ ((addresses >> 7 & (width // 16 - 1)) << 4)
    addresses = addresses.reshape(len(addresses), -1)
    for warp in range(4):  # each warp of the group reads all of it
        lanes = np.repeat(x.lanes[32 * warp :: 128], addresses.shape[1])
        words = x.sim.access_shared(addresses.reshape(-1), 16, lanes, x.where, product=True)
    values = _mma_values(unpack(words.reshape(-1).view(U32), PACKED[ty]), ty)
    return values.reshape(len(addresses), rows, -1)
