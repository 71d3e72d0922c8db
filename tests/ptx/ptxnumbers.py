"""Formats of numbers and operations that are rounded once. See ``ptxsim``."""

from __future__ import annotations

import numpy as np

from ptxtext import DTYPE, F32, F64, U16, U32, U64, UNSIGNED, WIDTH, Array


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
