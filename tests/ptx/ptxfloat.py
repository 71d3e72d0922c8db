"""The opcodes of PTX for numbers of any format: arithmetic, comparisons, conversions. See ``ptxsim``."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from ptxinteger import add_with_carry, integer_product, mad, quotient
from ptxnumbers import fma, narrow, pack, unpack
from ptxstep import Opcodes, Step
from ptxtext import DTYPE, F32, F64, U32, U64, UNSIGNED, WIDTH, Array

OPCODES = Opcodes()


@OPCODES.add("add sub mul", "rn ftz sat cc lo hi wide")
def _add_sub_mul(x: Step) -> None:
    kind, integer = x.instruction.parts[0], x.ty[0] in "usb" and not x.ty.startswith("bf")
    if integer and kind == "mul":
        return x.put(*integer_product(x))
    a, b = x.get(1), x.get(2)
    if integer and x.has("cc"):
        if kind == "sub":  # the carry flag holds the borrow
            x.sim.carry[x.lanes] = a.view(UNSIGNED[a.itemsize]) < b.view(UNSIGNED[b.itemsize])
            return x.put(a - b)
        return x.put(add_with_carry(x, a, b, False))
    return x.put({"add": np.add, "sub": np.subtract, "mul": np.multiply}[kind](a, b))


@OPCODES.add("fma mad", "rn ftz sat lo hi wide cc")
def _fma(x: Step) -> None:
    if x.ty[0] in "us":
        return mad(x)
    return x.put(fma(x.get(1), x.get(2), x.get(3), x.ty))


@OPCODES.add("min max", "ftz NaN")
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


@OPCODES.add("neg abs", "ftz")
def _neg_abs(x: Step) -> None:
    x.put((np.negative if x.has("neg") else np.abs)(x.get(1)))


@OPCODES.add("copysign")
def _copysign(x: Step) -> None:
    x.put(np.copysign(x.get(2), x.get(1)))


@OPCODES.add("testp", "finite infinite number notanumber normal subnormal")
def _testp(x: Step) -> None:
    value = x.get(1)
    size, tiny = np.abs(value), np.finfo(value.dtype).tiny
    tests = {"finite": np.isfinite(value), "infinite": np.isinf(value), "notanumber": np.isnan(value)}
    tests |= {"number": ~np.isnan(value), "subnormal": (size < tiny) & (size > 0)}
    x.put(x.choose(tests | {"normal": np.isfinite(value) & (size >= tiny)}), "pred")


RELATIVE = {
    **{"div": 2.0**-22, "rcp": 2.0**-23, "ex2": 2.0**-22, "sqrt": 2.0**-23, "rsqrt": 2.0**-22.9, "tanh": 2.0**-11},
}
"""Largest relative errors of the approximate functions of float32: PTX ISA, floating point instructions."""


def _error(name: str, argument: Array, value: Array) -> Array:
    """Largest error of an approximate function of float32. Of lg2 (PTX ISA) it is absolute near 1, of sin and cos
    everywhere: up to pi that of __sinf and __cosf in the CUDA C++ Programming Guide, farther out the PTX ISA's."""
    size, error = np.abs(argument), np.asarray(np.abs(value) * RELATIVE.get(name, 2.0**-22))
    if name == "lg2":
        error = np.where((argument > 0.5) & (argument < 2), 2.0**-22, error)
    elif name in ("sin", "cos"):
        within_pi = 2.0**-21.41 if name == "sin" else 2.0**-21.19
        error = np.where(size <= np.float32(np.pi), within_pi, np.where(size <= 2 * np.pi, 2.0**-20.5, 2.0**-14.7))
    return error


def _approximate(x: Step, argument: Array, value: Array) -> Array:
    """float64 results of an argument to the type, moved by the largest error, up or down as a function of the value."""
    result, name = narrow(value, x.ty), x.instruction.parts[0]
    if not x.sim.worst or x.ty != "f32" or x.has("rn"):
        return result
    mixed = (result.view(U32).astype(U64) + U64(x.sim.seed)) * U64(0x9E3779B97F4A7C15) >> U64(63)
    error = np.maximum(_error(name, argument, value) - np.spacing(np.abs(result)).astype(F64) / 2, 0)  # then rounded
    moved = narrow(np.where(mixed == 0, value - error, value + error), x.ty)
    return np.where(np.isfinite(result) & (result != 0) & (argument != 0), moved, result)


@OPCODES.add("div", "rn ftz full approx")
def _div(x: Step) -> None:
    a, b = x.get(1), x.get(2)
    if a.dtype.kind != "f":
        return x.put(quotient(x, a, b))
    return x.put(_approximate(x, a.astype(F64), a.astype(F64) / b.astype(F64)))


FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    **{"ex2": np.exp2, "lg2": np.log2, "sqrt": np.sqrt, "sin": np.sin, "cos": np.cos, "tanh": np.tanh},
    **{"rcp": lambda v: 1 / v, "rsqrt": lambda v: 1 / np.sqrt(v)},
}


@OPCODES.add(" ".join(FUNCTIONS), "approx rn ftz")
def _function(x: Step) -> None:
    argument = x.get(1).astype(F64)
    x.put(_approximate(x, argument, FUNCTIONS[x.instruction.parts[0]](argument)))


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


@OPCODES.add("setp", COMPARE_NAMES)
def _setp(x: Step) -> None:
    outcome, combined = _compare(x.get(1), x.get(2), x.instruction.parts[1]), _compared(x)
    for name, value in zip(x.pair(), (outcome, ~outcome)):
        x.sim.write(name, combined(value), x.lanes)


@OPCODES.add("set", COMPARE_NAMES)
def _set(x: Step) -> None:
    ty = x.instruction.types[0]
    outcome = _compared(x)(_compare(x.get(1), x.get(2), x.instruction.parts[1]))
    if ty == "f32":
        return x.put(outcome.astype(F32), ty)
    return x.put(np.where(outcome, U32(2**32 - 1), U32(0)), ty)


# conversions

TO_INTEGRAL: dict[str, Callable[[Array], Array]] = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}


@OPCODES.add("cvt", "rn rz rna rni rzi rmi rpi ftz sat relu")
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
