"""The simulator of compiled kernels: each opcode against values worked out by hand, and its checks against faults."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ptxsim import Sim, SimError, launch
from ttc_fast.numerics import rng

Array = NDArray[Any]
LANES = np.arange(32)
INF, NAN = np.inf, np.nan
ONES = 2**32 - 1

HEADER = """.version 8.6
.target sm_90a
.address_size 64
.extern .shared .align 16 .b8 smem[];
.visible .entry k({parameters}) .reqntid {threads}
{{
 .reg .pred %p<8>; .reg .b16 %h<16>; .reg .b32 %r<32>; .reg .b64 %d<16>;
 .reg .b32 %t, %g, %n; .reg .b64 %x; {declarations}
 mov.u32 %t, %tid.x;
 mov.u32 %n, %ntid.x;
 mov.u32 %g, %ctaid.x;
 mad.lo.u32 %g, %g, %n, %t;
"""
FOOTER = """
$stop:
 ret;
}
"""


def kernel(body: str, inputs: list[Array], outputs: list[str], threads: int) -> str:
    """Text of a kernel that loads %a, %b, ... by thread, runs the body and stores %o0, %o1, ... by global thread."""
    names = [f"in{i}" for i in range(len(inputs))] + [f"out{i}" for i in range(len(outputs))]
    declarations, before, after = "", "", ""
    for i, array in enumerate(inputs):
        size, register = array.itemsize, f"%{'abcef'[i]}"
        declarations += f".reg .b{8 * size} {register};"
        before += (
            f"ld.param.u64 %x, [in{i}]; mad.wide.u32 %x, %t, {size}, %x; ld.global.b{8 * size} {register}, [%x];\n"
        )
    for i, output in enumerate(outputs):
        size = np.dtype(output).itemsize
        declarations += f".reg .b{8 * size} %o{i};"
        after += f"ld.param.u64 %x, [out{i}]; mad.wide.u32 %x, %g, {size}, %x; st.global.b{8 * size} [%x], %o{i};\n"
    parameters = ", ".join(f".param .u64 {name}" for name in names)
    return (
        HEADER.format(parameters=parameters, threads=threads, declarations=declarations)
        + before
        + body
        + after
        + FOOTER
    )


def simulate(
    body: str, *inputs: Any, outputs: str = "", threads: int = 32, grid: int = 1, shared: int = 0, **options: Any
) -> tuple[Sim, list[Array]]:
    arrays = [np.resize(np.asarray(x), threads) for x in inputs]
    kinds = outputs.split()
    results = [np.zeros(threads * grid, kind) for kind in kinds]
    sim = Sim(kernel(body, arrays, kinds, threads), (grid,), shared, [*arrays, *results], **options)
    return sim.run(), results


def execute(body: str, *inputs: Any, out: str = "u4", **options: Any) -> Array:
    """The first output, for as many lanes as the first input has."""
    result: Array = simulate(body, *inputs, outputs=out, **options)[1][0]
    return result[: np.size(inputs[0])] if inputs else result


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def u32(*values: int) -> Array:
    return np.array([v & ONES for v in values], np.uint32)


def u64(*values: int) -> Array:
    return np.array([v & (2**64 - 1) for v in values], np.uint64)


def same(got: Array, expected: Any) -> None:
    """Equal bit by bit, any NaN equal to any other."""
    expected = np.asarray(expected, got.dtype)
    nan = np.isnan(got) & np.isnan(expected) if got.dtype.kind == "f" else np.zeros(got.shape, bool)
    unsigned = f"u{got.itemsize}"
    words = [np.ascontiguousarray(x).view(unsigned) for x in (got, np.broadcast_to(expected, got.shape))]
    assert (nan | (words[0] == words[1])).all(), (got, expected)


# ---------------------------------------------------------------------------------------------- integers

INTEGERS = [
    ("add.u32 %o0, %a, %b;", u32(ONES, 7), u32(1, 8), [0, 15]),
    ("sub.s32 %o0, %a, %b;", u32(0, 7), u32(1, 8), [ONES, ONES]),
    ("mul.lo.u32 %o0, %a, %b;", u32(ONES, 3), u32(ONES, 5), [1, 15]),
    ("mul.hi.u32 %o0, %a, %b;", u32(ONES, 2**31), u32(ONES, 4), [ONES - 1, 2]),
    ("mul.hi.s32 %o0, %a, %b;", u32(-1, -(2**31)), u32(1, 4), [ONES, 2**32 - 2]),
    ("mad.lo.s32 %o0, %a, %b, -1;", u32(3, -3), u32(4, 4), [11, 2**32 - 13]),
    ("mad.hi.u32 %o0, %a, %b, 5;", u32(ONES, 0), u32(ONES, 4), [3, 5]),
    ("min.s32 %o0, %a, %b;", u32(-1, 5), u32(1, 4), [ONES, 4]),
    ("max.u32 %o0, %a, %b;", u32(-1, 5), u32(1, 4), [ONES, 5]),
    ("div.s32 %o0, %a, %b;", u32(-7, 7, -8), u32(2, -2, 2), [2**32 - 3, 2**32 - 3, 2**32 - 4]),
    ("div.u32 %o0, %a, %b;", u32(-7, 7), u32(2, 2), [2**31 - 4, 3]),
    ("rem.s32 %o0, %a, %b;", u32(-7, 7, 6), u32(2, -2, 2), [ONES, 1, 0]),
    ("abs.s32 %o0, %a;", u32(-7, 7), u32(0), [7, 7]),
    ("neg.s32 %o0, %a;", u32(-7, 7), u32(0), [7, 2**32 - 7]),
    ("xor.b32 %o0, %a, %b;", u32(0b1100), u32(0b1010), [0b0110]),
    ("not.b32 %o0, %a;", u32(0, 5), u32(0), [ONES, ONES - 5]),
    # shifts: amounts of the width and above leave nothing, or copies of the sign
    ("shl.b32 %o0, %a, %b;", u32(3, 3, 3, 3), u32(0, 31, 32, 2**31), [3, 2**31, 0, 0]),
    ("shr.u32 %o0, %a, %b;", u32(-8, -8, -8), u32(1, 31, 32), [2**31 - 4, 1, 0]),
    ("shr.s32 %o0, %a, %b;", u32(-8, -8, 8, -8), u32(1, 40, 40, ONES), [2**32 - 4, ONES, 0, ONES]),
    # funnel shifts of the 64 bits b:a
    ("shf.l.wrap.b32 %o0, %a, %b, 8;", u32(0x89ABCDEF), u32(0x01234567), [0x23456789]),
    ("shf.r.wrap.b32 %o0, %a, %b, 8;", u32(0x89ABCDEF), u32(0x01234567), [0x6789ABCD]),
    ("shf.l.wrap.b32 %o0, %a, %b, 40;", u32(0x89ABCDEF), u32(0x01234567), [0x23456789]),
    ("shf.l.clamp.b32 %o0, %a, %b, 40;", u32(0x89ABCDEF), u32(0x01234567), [0x89ABCDEF]),
    ("shf.r.clamp.b32 %o0, %a, %b, 40;", u32(0x89ABCDEF), u32(0x01234567), [0x01234567]),
    # fields: (start, length) in b, then constants; beyond the word, zeros or the sign
    ("bfe.u32 %o0, %a, %b, 8;", u32(0x12345678, 0xF0000000, 0xF0000000), u32(4, 28, 40), [0x67, 0xF, 0]),
    ("bfe.s32 %o0, %a, %b, 8;", u32(0x12345F78, 0xF0000000, 0x10000000), u32(4, 28, 28), [ONES - 8, ONES, 1]),
    ("bfe.s32 %o0, %a, %b, 0;", u32(ONES), u32(4), [0]),
    ("bfe.u32 %o0, %a, 0, %b;", u32(0x89ABCDEF, 0x89ABCDEF), u32(32, 255), [0x89ABCDEF, 0x89ABCDEF]),
    ("bfi.b32 %o0, %a, %b, 8, 4;", u32(0xAB), u32(0x11111111), [0x11111B11]),
    ("bfi.b32 %o0, %a, %b, 28, 16;", u32(0xAB), u32(0x11111111), [0xB1111111]),
    ("bfi.b32 %o0, %a, %b, 3, 0;", u32(0xAB), u32(0x11111111), [0x11111111]),
    ("popc.b32 %o0, %a;", u32(0, ONES, 0xF1), u32(0), [0, 32, 5]),
    ("clz.b32 %o0, %a;", u32(0, ONES, 1, 0xF1), u32(0), [32, 0, 31, 24]),
    ("brev.b32 %o0, %a;", u32(1, 0x80000001, 0x0000000F), u32(0), [2**31, 0x80000001, 0xF0000000]),
    # bytes 3210 of a and 7654 of b; bit 3 of a selector copies the sign
    ("prmt.b32 %o0, %a, %b, 0x5410;", u32(0x33221100), u32(0x77665544), [0x55441100]),
    ("prmt.b32 %o0, %a, %b, 0x0123;", u32(0x33221100), u32(0x77665544), [0x00112233]),
    ("prmt.b32 %o0, %a, %b, 0xF8C3;", u32(0x33221180), u32(0x8766D544), [0xFFFF0033]),
    ("prmt.b32 %o0, %a, %a, %b;", u32(0x33221100), u32(0xFFFF7777), [0x33333333]),
    ("slct.b32.s32 %o0, %a, %b, %b;", u32(1, 2), u32(-1, 5), [ONES, 2]),
]


@pytest.mark.parametrize(("body", "a", "b", "expected"), INTEGERS, ids=lambda v: v if isinstance(v, str) else "")
def test_integers(body: str, a: Array, b: Array, expected: list[int]) -> None:
    same(execute(body, a, b), u32(*expected))


@pytest.mark.parametrize("table", [0x00, 0xFF, 0x80, 0xFE, 0x96, 0xE8, 0xCA, 0x35])
def test_lop3_is_its_truth_table(table: int) -> None:
    # 0xF0, 0xCC, 0xAA enumerate all values of three bits: the result is the table itself.
    same(execute(f"lop3.b32 %o0, %a, %b, %c, {table};", u32(0xF0), u32(0xCC), u32(0xAA)) & 0xFF, u32(table))


@pytest.mark.parametrize("sign", ["u", "s"])
def test_64_bit_products(sign: str) -> None:
    values = [0, 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1, 0x123456789ABCDEF0]
    a, b = (np.array(v, np.uint64) for v in zip(*[(x, y) for x in values[2:] for y in values[3:]]))
    signed = [[int(x.view(np.int64)) if sign == "s" else int(x) for x in v] for v in (a, b)]
    products = [x * y for x, y in zip(*signed)]
    same(execute(f"mul.hi.{sign}64 %o0, %a, %b;", a, b, out="u8"), u64(*[p >> 64 for p in products]))
    same(execute(f"mul.lo.{sign}64 %o0, %a, %b;", a, b, out="u8"), u64(*products))


def test_wide_products_and_wide_shifts() -> None:
    same(execute("mul.wide.u32 %o0, %a, %a;", u32(ONES), out="u8"), u64(ONES**2))
    same(execute("mul.wide.s32 %o0, %a, %a;", u32(ONES), out="u8"), u64(1))
    same(execute("mad.wide.s32 %o0, %a, 3, %b;", u32(-2), u64(5), out="u8"), u64(-1))
    same(execute("mul.wide.u16 %o0, %a, %a;", np.array([65535], np.uint16)), u32(65535**2))
    same(execute("shl.b64 %o0, %a, %b;", u64(3, 3, 3), u32(1, 63, 64), out="u8"), u64(6, 1 << 63, 0))
    same(execute("bfe.u64 %o0, %a, 60, 8;", u64(0xF << 60), out="u8"), u64(0xF))
    same(execute("popc.b64 %o0, %a;", u64(2**64 - 1, 2**40)), u32(64, 1))


def test_carry() -> None:
    body = """add.cc.u32 %r0, %a, %b; addc.cc.u32 %r1, %a, 0; addc.u32 %o0, 0, 0;
    shl.b32 %o0, %o0, 8; add.u32 %o0, %o0, %r1;"""
    same(execute(body, u32(ONES, 1), u32(1, 1)), u32(0x100, 1))
    body = "mad.lo.cc.u32 %r0, %a, %b, %b; madc.hi.u32 %o0, %a, %b, 0;"
    same(execute(body, u32(ONES, 2), u32(ONES, 3)), u32(((ONES * ONES + ONES) >> 32), 0))
    same(execute("sub.cc.u32 %r0, %a, %b; subc.u32 %o0, 9, 0;", u32(0, 1), u32(1, 1)), u32(8, 9))


def test_moves() -> None:
    same(execute("mov.b64 %d0, {%a, %b}; mov.b64 {_, %o0}, %d0;", u32(1), u32(2)), u32(2))
    same(execute("mov.b32 {%h0, %h1}, %a; mov.b32 %o0, {%h1, %h0};", u32(0x12345678)), u32(0x56781234))
    same(execute("setp.eq.u32 %p1, %a, 3; selp.b32 %o0, 7, %a, %p1;", u32(3, 4)), u32(7, 4))
    same(
        execute("mov.u32 %o0, %a; setp.eq.u32 %p1, %a, 3; @%p1 mov.u32 %o0, 9; @!%p1 add.u32 %o0, %a, 1;", u32(3, 4)),
        u32(9, 5),
    )
    same(execute("mov.b32 %o0, %a; { .reg .b32 q; mov.b32 q, 5; add.u32 %o0, %o0, q; }", u32(3)), u32(8))


# ---------------------------------------------------------------------------------------- floating point


def rounded_fma(a: float, b: float, c: float) -> float:
    """By exact fractions; float() of a fraction rounds once to float64, so only halfway cases need care."""
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    near = np.float32(float(exact))
    candidates = [np.nextafter(near, np.float32(-INF)), near, np.nextafter(near, np.float32(INF))]
    best = min(candidates, key=lambda x: (abs(Fraction(float(x)) - exact), int(np.float32(x).view(np.uint32)) & 1))
    return float(best)


def test_fma_is_rounded_once() -> None:
    tiny = 2.0**-24
    # 1 + 2^-24 is midway between two float32 numbers; the third factor, far below float64's reach, decides.
    a, b, c = f32(tiny, tiny, 1 + 2**-23, 1), f32(1, 1, 1 - 2**-23, 1), f32(1, 1, -1, tiny)
    same(execute("fma.rn.f32 %o0, %a, %b, %c;", a, b, c, out="f4"), f32(1, 1, -(2.0**-46), 1))
    up = f32(1 + 2**-23), f32(tiny), f32(1)  # 2^-24 + 2^-47 + 1: above the middle
    same(execute("fma.rn.f32 %o0, %a, %b, %c;", *up, out="f4"), f32(1 + 2**-23))
    # 2^-24 (1 + 2^-23)(1 - 2^-23) + 1 lies 2^-70 below the middle, which float64 cannot see.
    below = f32(tiny * (1 + 2**-23)), f32(1 - 2**-23), f32(1 + 2**-23)
    same(execute("fma.rn.f32 %o0, %a, %b, %c;", *below, out="f4"), f32(1 + 2**-23))


@pytest.mark.parametrize("seed", range(3))
def test_fma_against_fractions(seed: int) -> None:
    generator = np.random.default_rng(seed)
    scale = 2.0 ** generator.integers(-30, 30, (3, 32))
    a, b, c = (generator.choice([1, 1.5, 1 + 2**-23, 1 - 2**-24, 4 / 3], (3, 32)) * scale).astype(np.float32)
    c[::4] = (-a[::4] * b[::4]).astype(np.float32)  # cancellation
    got = execute("fma.rn.f32 %o0, %a, %b, %c;", a, b, c, out="f4")
    same(got, f32(*[rounded_fma(*v) for v in zip(a, b, c)]))
    pairs = [x.reshape(-1, 2).copy().view(np.uint64)[:, 0] for x in (a, b, c)]
    same(execute("fma.rn.f32x2 %o0, %a, %b, %c;", *pairs, out="u8").view(np.float32), got)
    wide = [x.astype(np.float64) * (1 + 2.0**-50) for x in (a, b, c)]
    exact = [float(Fraction(x) * Fraction(y) + Fraction(z)) for x, y, z in zip(*[v.tolist() for v in wide])]
    same(execute("fma.rn.f64 %o0, %a, %b, %c;", *wide, out="f8"), np.array(exact))


FLOATS = [
    ("add.rn.f32 %o0, %a, %b;", f32(1, INF), f32(2**-24, -INF), [1, NAN]),
    ("sub.f32 %o0, %a, %b;", f32(1, 3), f32(2**-24, 5), [1 - 2**-24, -2]),
    ("mul.f32 %o0, %a, %b;", f32(2.0**-75, -0.0), f32(2.0**-74, 3), [2.0**-149, -0.0]),
    ("mul.ftz.f32 %o0, %a, %b;", f32(2.0**-75, 2.0**-140), f32(-(2.0**-74), 2.0**100), [-0.0, 0]),
    ("add.sat.f32 %o0, %a, %b;", f32(0.25, 3, -5, NAN), f32(0.5, 1, 1, 1), [0.75, 1, 0, 0]),
    ("min.f32 %o0, %a, %b;", f32(NAN, -0.0, 0.0, 2), f32(1, 0.0, -0.0, 3), [1, -0.0, -0.0, 2]),
    ("max.f32 %o0, %a, %b;", f32(NAN, -0.0, 0.0, 2), f32(1, 0.0, -0.0, 3), [1, 0, 0, 3]),
    ("max.NaN.f32 %o0, %a, %b;", f32(NAN, 2), f32(1, 3), [NAN, 3]),
    ("max.f32 %o0, %a, %b, 0f41000000;", f32(9, 2), f32(1, 3), [9, 8]),
    ("neg.f32 %o0, %a;", f32(0, -3), f32(0), [-0.0, 3]),
    ("abs.ftz.f32 %o0, %a;", f32(-(2.0**-140), -3), f32(0), [0, 3]),
    ("copysign.f32 %o0, %a, %b;", f32(-1, 2), f32(3, 5), [-3, 5]),
    ("div.rn.f32 %o0, %a, %b;", f32(1, 1, 0, -1), f32(3, 10, 0, 0), [1 / 3, 0.1, NAN, -INF]),
    ("div.full.f32 %o0, %a, %b;", f32(1, 7), f32(3, 2), [1 / 3, 3.5]),
    ("sqrt.rn.f32 %o0, %a;", f32(2, -1, -0.0), f32(0), [math.sqrt(2), NAN, -0.0]),
    ("rcp.rn.f32 %o0, %a;", f32(3, -0.0), f32(0), [1 / 3, -INF]),
    ("ex2.approx.ftz.f32 %o0, %a;", f32(3, -140, -INF, 0.5), f32(0), [8, 0, 0, math.sqrt(2)]),
    ("lg2.approx.f32 %o0, %a;", f32(8, 0, -1, 0.25), f32(0), [3, -INF, NAN, -2]),
    ("rsqrt.approx.f32 %o0, %a;", f32(4, 0), f32(0), [0.5, INF]),
    ("sin.approx.f32 %o0, %a;", f32(0, 1), f32(0), [0, math.sin(1)]),
    ("cos.approx.f32 %o0, %a;", f32(0, 1), f32(0), [1, math.cos(1)]),
    ("tanh.approx.f32 %o0, %a;", f32(0, INF), f32(0), [0, 1]),
    ("cvt.rni.f32.f32 %o0, %a;", f32(2.5, -3.5, 0.4), f32(0), [2, -4, 0]),
    ("selp.f32 %o0, %a, %b, 1;", f32(1), f32(2), [1]),
]


@pytest.mark.parametrize(("body", "a", "b", "expected"), FLOATS, ids=lambda v: v if isinstance(v, str) else "")
def test_floats(body: str, a: Array, b: Array, expected: list[float]) -> None:
    same(execute(body, a, b, out="f4"), f32(*expected))


def test_packed_and_short_floats() -> None:
    a, b = np.array([1.5, -2], np.float32).view(np.uint64), np.array([2, 0.25], np.float32).view(np.uint64)
    for name, expected in [("add", (3.5, -1.75)), ("mul", (3, -0.5)), ("sub", (-0.5, -2.25))]:
        same(execute(f"{name}.f32x2 %o0, %a, %b;", a, b, out="u8").view(np.float32), f32(*expected))
    x, y = np.array([1, 2048], np.float16), np.array([2**-11, 1], np.float16)
    same(execute("add.f16 %o0, %a, %b;", x, y, out="f2"), [1, 2048])
    same(execute("fma.rn.f16 %o0, %a, %b, %a;", x, y, out="f2"), [1, 4096])
    # bf16 has 8 bits: 1 + 2^-8 is midway and goes to even; 1.0078125 + 2^-8 goes up
    one, next_one, half_step = 0x3F80, 0x3F81, 0x3B80
    got = execute(
        "add.rn.bf16 %o0, %a, %b;", np.array([one, next_one], np.uint16), np.array([half_step] * 2, np.uint16), out="u2"
    )
    same(got, np.array([one, 0x3F82], np.uint16))
    got = execute("fma.rn.bf16x2 %o0, %a, %a, %a;", u32(one << 16 | 0x4000))
    same(got, u32(0x4000 << 16 | 0x40C0))  # 1 + 1 and 4 + 2


def test_float64() -> None:
    same(execute("add.f64 %o0, %a, 0d3FF0000000000000;", np.array([2.0**-53, 1]), out="f8"), [1, 2])
    same(execute("div.rn.f64 %o0, %a, %b;", np.array([1.0]), np.array([3.0]), out="f8"), [1 / 3])


ORDERED = {"eq": 0b010, "ne": 0b101, "lt": 0b100, "le": 0b110, "gt": 0b001, "ge": 0b011, "num": 0b111}
UNORDERED = {"equ": 0b010, "neu": 0b101, "ltu": 0b100, "leu": 0b110, "gtu": 0b001, "geu": 0b011, "nan": 0b000}


@pytest.mark.parametrize("name", [*ORDERED, *UNORDERED])
def test_setp_of_floats(name: str) -> None:
    bits = {**ORDERED, **UNORDERED}[name]
    got = execute(
        f"setp.{name}.f32 %p1, %a, %b; selp.u32 %o0, 1, 0, %p1;", f32(1, 2, 3, NAN, 2, NAN), f32(2, 2, 2, 2, NAN, NAN)
    )
    same(got, u32(bits >> 2 & 1, bits >> 1 & 1, bits & 1, *[name in UNORDERED] * 3))


@pytest.mark.parametrize("combine", ["and", "or", "xor"])
def test_setp_with_two_results(combine: str) -> None:
    body = f"""setp.ne.u32 %p3, %b, 0; setp.lt.{combine}.s32 %p1|%p2, %a, 0, !%p3;
    selp.u32 %r0, 2, 0, %p1; selp.u32 %r1, 1, 0, %p2; add.u32 %o0, %r0, %r1;"""
    expected = []
    for less, other in [(True, True), (True, False), (False, True), (False, False)]:
        results = [{"and": x and other, "or": x or other, "xor": x != other}[combine] for x in (less, not less)]
        expected.append(2 * results[0] + results[1])
    same(execute(body, u32(-1, -1, 1, 1), u32(0, 1, 0, 1)), u32(*expected))


def test_set_and_testp() -> None:
    same(execute("set.lt.u32.s32 %o0, %a, 0;", u32(-1, 1)), u32(ONES, 0))
    same(execute("set.gt.f32.f32 %o0, %a, 0f00000000;", f32(-1, 1), out="f4"), [0, 1])
    values = f32(1, INF, NAN, 2.0**-140, 0)
    for name, expected in [
        ("finite", [1, 0, 0, 1, 1]),
        ("notanumber", [0, 0, 1, 0, 0]),
        ("subnormal", [0, 0, 0, 1, 0]),
    ]:
        same(execute(f"testp.{name}.f32 %p1, %a; selp.u32 %o0, 1, 0, %p1;", values), u32(*expected))


# ------------------------------------------------------------------------------------------- conversions

HUGE = 3e38
CONVERSIONS = [
    ("cvt.rzi.s32.f32 %o0, %a;", f32(-1.7, 2.9, HUGE, -HUGE, NAN), "i4", [-1, 2, 2**31 - 1, -(2**31), 0]),
    ("cvt.rzi.u32.f32 %o0, %a;", f32(-1.7, 2.9, HUGE, NAN), "u4", [0, 2, ONES, 0]),
    ("cvt.rni.s32.f32 %o0, %a;", f32(2.5, 3.5, -2.5), "i4", [2, 4, -2]),
    ("cvt.rmi.s32.f32 %o0, %a;", f32(2.5, -2.5), "i4", [2, -3]),
    ("cvt.rpi.s32.f32 %o0, %a;", f32(2.5, -2.5), "i4", [3, -2]),
    ("cvt.rzi.s64.f32 %o0, %a;", f32(2.5, HUGE, NAN), "i8", [2, 2**63 - 1, -(2**63)]),
    ("cvt.rn.f32.u32 %o0, %a;", u32(ONES, 2**24 + 1), "f4", [2.0**32, 2.0**24]),
    ("cvt.rn.f32.s32 %o0, %a;", u32(-1, 2**24 + 3), "f4", [-1, 2.0**24 + 4]),
    # 2^24 + 1 + 2^-? cannot be seen after a first rounding to float64: the integer is rounded once
    ("cvt.rn.f32.u64 %o0, %a;", u64(2**63 + 2**39 + 1, 2**63 + 2**39), "f4", [2.0**63 + 2**40, 2.0**63]),
    ("cvt.s32.s8 %o0, %a;", u32(0x80, 0x17F), "i4", [-128, 127]),
    ("cvt.u32.u16 %o0, %a;", u32(0x12345678), "u4", [0x5678]),
    ("cvt.s64.s32 %o0, %a;", u32(-5), "i8", [-5]),
    ("cvt.u64.u32 %o0, %a;", u32(-5), "u8", [2**32 - 5]),
    ("cvt.u32.u64 %o0, %a;", u64(2**40 + 3), "u4", [3]),
    ("cvt.sat.s8.s32 %o0, %a;", u32(300, -300, 5), "i4", [127, -128, 5]),
    ("cvt.f32.f16 %o0, %a;", np.array([0.5, NAN, 2**-24], np.float16), "f4", [0.5, NAN, 2**-24]),
    ("cvt.rn.f16.f32 %o0, %a;", f32(1 + 2**-11, 1 + 3 * 2**-11, 1e6), "f2", [1, 1 + 2**-9, INF]),
    ("cvt.rz.f16.f32 %o0, %a;", f32(1 + 3 * 2**-11, -1 - 2**-11), "f2", [1 + 2**-10, -1]),
    ("cvt.rn.f32.f64 %o0, %a;", np.array([1 + 2**-24, 1 + 2**-24 + 2**-50]), "f4", [1, 1 + 2**-23]),
    ("cvt.f64.f32 %o0, %a;", f32(0.1), "f8", [float(np.float32(0.1))]),
    ("cvt.sat.f32.f32 %o0, %a;", f32(-1, 0.5, 2), "f4", [0, 0.5, 1]),
    # bf16 keeps the upper half: ties to even, NaN canonical
    ("cvt.rn.bf16.f32 %o0, %a;", u32(0x3F808000, 0x3F818000, 0x3F808001), "u2", [0x3F80, 0x3F82, 0x3F81]),
    ("cvt.rn.bf16.f32 %o0, %a;", u32(0x7FC00001, 0xFF800000), "u2", [0x7FFF, 0xFF80]),
    ("cvt.rz.bf16.f32 %o0, %a;", u32(0x3F80FFFF, 0xBF80FFFF), "u2", [0x3F80, 0xBF80]),
    ("cvt.f32.bf16 %o0, %a;", np.array([0x3F80, 0xC000], np.uint16), "f4", [1, -2]),
    ("cvt.rn.bf16x2.f32 %o0, %a, 0f40000000;", f32(1), "u4", [0x3F804000]),
    ("cvt.rn.f16x2.f32 %o0, %a, 0f40000000;", f32(1), "u4", [0x3C004000]),
    ("cvt.rn.relu.bf16x2.f32 %o0, %a, 0f40000000;", f32(-1), "u4", [0x00004000]),
    # tf32 keeps 10 bits; rna sends ties away from zero
    ("cvt.rna.tf32.f32 %o0, %a;", u32(0x3F801000, 0xBF801000), "u4", [0x3F802000, 0xBF802000]),
    ("cvt.rna.tf32.f32 %o0, %a;", u32(0x3F800FFF, 0x7F800000), "u4", [0x3F800000, 0x7F800000]),
    ("cvt.rn.tf32.f32 %o0, %a;", u32(0x3F801000, 0x3F803000), "u4", [0x3F800000, 0x3F804000]),
    ("cvt.rz.tf32.f32 %o0, %a;", u32(0x3F801FFF), "u4", [0x3F800000]),
]


@pytest.mark.parametrize(("body", "a", "out", "expected"), CONVERSIONS, ids=lambda v: v if isinstance(v, str) else "")
def test_conversions(body: str, a: Array, out: str, expected: list[float]) -> None:
    same(execute(body, a, out=out), np.array(expected, out))


@pytest.mark.parametrize("ulp", [0, 1, 3])
def test_approximation_moves_results_by_value_only(ulp: int) -> None:
    x = np.resize(np.linspace(0.1, 4, 16), 32).astype(np.float32)  # each value twice
    exact = np.exp2(x.astype(np.float64)).astype(np.float32)
    got = execute("ex2.approx.f32 %o0, %a;", x, out="f4", approx_ulp=ulp)
    moves = got.view(np.int32) - exact.view(np.int32)
    assert np.abs(moves).max() == ulp
    assert (got[:16] == got[16:]).all()
    if ulp:
        assert (got != execute("ex2.approx.f32 %o0, %a;", x, out="f4", approx_ulp=ulp, seed=1)).any()
        rounded = execute("sqrt.rn.f32 %o0, %a;", x, out="f4", approx_ulp=ulp)
        same(rounded, np.sqrt(x))


# ------------------------------------------------------------------------------------------------- warps

SHUFFLES = [
    ("bfly", 3, 0x1F, LANES ^ 3, None),
    ("idx", 5, 0x1F, np.full(32, 5), None),
    ("up", 2, 0, LANES - 2, LANES >= 2),
    ("down", 2, 0x1F, LANES + 2, LANES < 30),
    ("down", 3, 0x181F, LANES + 3, LANES % 8 < 5),  # segments of 8
    ("up", 3, 0x1800, LANES - 3, LANES % 8 >= 3),
    ("idx", 13, 0x181F, LANES // 8 * 8 + 5, None),
    ("bfly", 8, 0x0F, LANES ^ 8, LANES < 16),  # the clamp admits sources up to lane 15 only
]


@pytest.mark.parametrize(("mode", "delta", "control", "source", "valid"), SHUFFLES)
def test_shfl(mode: str, delta: int, control: int, source: Array, valid: Array | None) -> None:
    value = u32(*(1000 + 7 * LANES))
    body = f"shfl.sync.{mode}.b32 %o0|%p1, %a, {delta}, {control}, -1; selp.u32 %o1, 1, 0, %p1;"
    _, (got, inside) = simulate(body, value, outputs="u4 u4", threads=64)
    valid = np.ones(32, bool) if valid is None else valid
    same(got, np.tile(value[np.where(valid, source, LANES)], 2))
    same(inside, np.tile(valid, 2).astype(np.uint32))


def test_votes_and_reductions() -> None:
    condition = "and.b32 %r0, %a, 1; setp.ne.u32 %p1, %r0, 0;"
    same(execute(condition + "vote.sync.ballot.b32 %o0, %p1, -1;", u32(*LANES)), np.full(32, 0xAAAAAAAA))
    for mode, expected in [("all", 0), ("any", 1), ("uni", 0)]:
        body = f"{condition} vote.sync.{mode}.pred %p2, %p1, -1; selp.u32 %o0, 1, 0, %p2;"
        same(execute(body, u32(*LANES)), np.full(32, expected))
    for name, expected in [("add.u32", 496 - 64), ("min.s32", -2), ("max.s32", 29), ("xor.b32", 0), ("or.b32", ONES)]:
        same(execute(f"redux.sync.{name} %o0, %a, -1;", u32(*(LANES - 2))), np.full(32, expected & ONES))
    same(execute("redux.sync.max.f32 %o0, %a, -1;", f32(*LANES), out="f4"), np.full(32, 31))
    body = "setp.lt.u32 %p1, %a, 5; mov.u32 %o0, 0; @%p1 activemask.b32 %o0;"
    same(execute(body, u32(*LANES)), np.where(LANES < 5, 31, 0))
    same(execute("elect.sync %r0|%p1, -1; selp.u32 %o0, %r0, 99, %p1;", u32(*LANES)), np.where(LANES == 0, 0, 99))


def test_collective_of_named_lanes() -> None:
    body = "setp.lt.u32 %p1, %a, 4; mov.u32 %o0, 77; @%p1 shfl.sync.bfly.b32 %o0, %a, 1, 31, 0xF;"
    same(execute(body, u32(*LANES)), np.where(LANES < 4, LANES ^ 1, 77))


# ------------------------------------------------------------------------------------------------- mma

MMA = [("tf32", 4), ("tf32", 8), ("bf16", 8), ("bf16", 16), ("f16", 8), ("f16", 16)]


def fragment(matrix: Array, rows: Array, columns: Array, ty: str) -> Array:
    """Registers (32, n) of one operand, from the rows and columns of its elements (32, n, elements)."""
    values = matrix[rows, columns].astype(np.float32)
    if ty == "tf32":
        return values[..., 0].view(np.uint32)
    words = (
        values.astype(np.float16).view(np.uint16) if ty == "f16" else (values.view(np.uint32) >> 16).astype(np.uint16)
    )
    return np.ascontiguousarray(words).view(np.uint32)[..., 0]


def run_mma(a: Array, b: Array, c: Array, ty: str) -> Array:
    """The layout as the instruction set's tables state it, register by register."""
    g, t = LANES // 4, LANES % 4
    k = a.shape[1]
    per = 1 if ty == "tf32" else 2
    element = np.arange(per)
    na, nb = k // (2 * per), k // (4 * per)
    rows = np.stack([np.repeat((g + 8 * (r % 2))[:, None], per, 1) for r in range(na)], 1)
    columns = np.stack([(t * per + 4 * per * (r // 2))[:, None] + element for r in range(na)], 1)
    depth = np.stack([(t * per + 4 * per * r)[:, None] + element for r in range(nb)], 1)
    across = np.broadcast_to(g[:, None, None], depth.shape)
    registers = [fragment(a, rows, columns, ty), fragment(b, depth, across, ty)]
    arrays = [np.ascontiguousarray(r).reshape(-1) for r in registers]
    crow, ccol = np.stack([g, g, g + 8, g + 8], 1), np.stack([2 * t, 2 * t + 1] * 2, 1)
    arrays += [np.ascontiguousarray(c[crow, ccol]).reshape(-1), np.zeros(128, np.float32)]
    load, names = "", []
    for p, n in enumerate([na, nb, 4]):
        names.append([f"%v{p}_{i}" for i in range(n)])
        load += f"ld.param.u64 %x, [q{p}]; mad.wide.u32 %x, %t, {4 * n}, %x;\n"
        load += "".join(f"ld.global.b32 {name}, [%x+{4 * i}];\n" for i, name in enumerate(names[-1]))
    lists = ["{" + ", ".join(n) + "}" for n in names]
    body = f"mma.sync.aligned.m16n8k{k}.row.col.f32.{ty}.{ty}.f32 {{%r0, %r1, %r2, %r3}}, {', '.join(lists)};"
    store = "ld.param.u64 %x, [q3]; mad.wide.u32 %x, %t, 16, %x; st.global.v4.b32 [%x], {%r0, %r1, %r2, %r3};"
    declarations = " ".join(f".reg .b32 {name};" for group in names for name in group)
    parameters = ", ".join(f".param .u64 q{i}" for i in range(4))
    text = HEADER.format(parameters=parameters, threads=32, declarations=declarations) + load + body + store + FOOTER
    Sim(text, (1,), 0, arrays).run()
    d = np.full((16, 8), NAN, np.float32)
    d[crow, ccol] = arrays[3].reshape(32, 4)
    return d


@pytest.mark.parametrize(("ty", "k"), MMA)
def test_mma_against_matrix_product(ty: str, k: int) -> None:
    generator = np.random.default_rng(k)
    a, b, c = (generator.integers(-16, 17, shape).astype(np.float64) / 8 for shape in [(16, k), (k, 8), (16, 8)])
    same(run_mma(a, b, c.astype(np.float32), ty), (a @ b + c).astype(np.float32))


def test_mma_drops_low_bits_of_tf32() -> None:
    a, b = np.zeros((16, 8)), np.eye(8)
    a[0, 0], a[1, 1] = 1 + 2**-10 + 2**-11 + 2**-20, -(1 + 2**-11)
    expected = np.zeros((16, 8), np.float32)
    expected[0, 0], expected[1, 1] = 1 + 2**-10, -1
    same(run_mma(a, b, np.zeros((16, 8), np.float32), "tf32"), expected)


WGMMA = """mul.lo.u32 %r9, %t, 4; mov.u32 %r8, smem; add.u32 %r9, %r9, %r8; cvt.rn.f32.u32 %r1, %t;
st.shared.b32 [%r9], %r1; st.shared.b32 [%r9+512], 0f40000000; st.shared.b32 [%r9+1024], 0f40400000;
st.shared.b32 [%r9+1536], %r1; setp.gt.u32 %p1, %t, 63; @!%p1 st.shared.b32 [%r9+2048], %r1;
fence.proxy.async.shared::cta; bar.sync 0; wgmma.fence.sync.aligned;
mov.b32 %r2, 0; mov.b32 %r3, 0; mov.b32 %r4, 0f3F800000; mov.b32 %r5, 0; setp.eq.u32 %p2, 0, 0;
wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%r2, %r3, %r4, %r5}, 0x1000080000, 0x1000080080, %p2, 1, 1;
wgmma.commit_group.sync.aligned;"""


def test_wgmma_of_unswizzled_matrices() -> None:
    """Blocks of 8 rows of 16 bytes; the second half of a row follows 128 bytes later, 8 more rows 256 later."""
    outs = "mov.b32 %o0, %r2; mov.b32 %o1, %r3; mov.b32 %o2, %r4; mov.b32 %o3, %r5;"
    body = WGMMA + "wgmma.wait_group.sync.aligned 0;" + outs
    sim, out = simulate(body, outputs="f4 f4 f4 f4", threads=128, shared=2304)
    word = np.concatenate([np.arange(128), np.full(128, 2), np.full(128, 3), np.arange(128), np.arange(64)])
    row, k = np.arange(64)[:, None], np.arange(8)
    a = word[row // 8 * 64 + row % 8 * 4 + k // 4 * 32 + k % 4]
    b = word[512 + row[:8] * 4 + k // 4 * 32 + k % 4]
    d = a @ b.T
    t = np.arange(128)
    first, column = t // 32 * 16 + t % 32 // 4, 2 * (t % 4)
    for i, values in enumerate(out):
        same(values, (d[first + 8 * (i // 2), column + i % 2] + (i == 2)).astype(np.float32))
    assert not sim.shared_races


@pytest.mark.parametrize(
    ("after", "clean"),
    [
        ("wgmma.wait_group.sync.aligned 0; bar.sync 0; st.shared.b32 [%r9], 1;", True),
        ("wgmma.wait_group.sync.aligned 0; st.shared.b32 [%r9], 1;", False),
        ("bar.sync 0; st.shared.b32 [%r9], 1; wgmma.wait_group.sync.aligned 0;", False),
        (
            "wgmma.wait_group.sync.aligned 1; bar.sync 0; st.shared.b32 [%r9], 1; wgmma.wait_group.sync.aligned 0;",
            False,
        ),
    ],
)
def test_races_with_wgmma(after: str, clean: bool) -> None:
    sim, _ = simulate(WGMMA + after, threads=128, shared=2304)
    assert (not sim.shared_races) == clean


# ------------------------------------------------------------------------------------------------ memory

SHARED_ADDRESS = "mul.lo.u32 %r9, %t, 4; mov.u32 %r8, smem; add.u32 %r9, %r9, %r8;"


@pytest.mark.parametrize("trans", ["", ".trans"])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_ldmatrix_and_stmatrix(n: int, trans: str) -> None:
    """Matrix m holds 64 m + 8 row + column; register m of lane l holds (l / 4, 2 (l % 4)) and its right neighbour."""
    names = ", ".join(f"%r{i}" for i in range(n))
    fill = "".join(
        f"mad.lo.u32 %r20, %t, 2, {64 * i}; shl.b32 %r21, %r20, 16; add.u32 %r21, %r21, 65536; or.b32 %r21, %r21, %r20;"
        f"st.shared.b32 [%r9+{128 * i}], %r21;"
        for i in range(n)
    )
    rows = "and.b32 %r10, %t, 31; shl.b32 %r10, %r10, 4; add.u32 %r10, %r10, %r8;"
    load = f"ldmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 {{{names}}}, [%r10];"
    out = "".join(f"mov.b32 %o{i}, %r{i};" for i in range(n))
    _, words = simulate(SHARED_ADDRESS + fill + rows + load + out, outputs="u4 " * n, shared=128 * n)
    for m, word in enumerate(words):
        row, column = LANES // 4, 2 * (LANES % 4)
        low = 64 * m + (8 * column + row if trans else 8 * row + column)
        same(word, u32(*(low + (low + (8 if trans else 1)) * 65536)))
    # stored with the same layout, the matrices come back as they were
    store = f"stmatrix.sync.aligned.m8n8.x{n}{trans}.shared.b16 [%r10], {{{names}}};"
    clear = "".join(f"st.shared.b32 [%r9+{128 * i}], 0;" for i in range(n))
    again = "".join(f"ld.shared.b32 %o{i}, [%r9+{128 * i}];" for i in range(n))
    sim, words = simulate(
        SHARED_ADDRESS + fill + rows + load + clear + store + again, outputs="u4 " * n, shared=128 * n
    )
    for m, word in enumerate(words):
        first = 64 * m + 2 * LANES
        same(word, u32(*(first + (first + 1) * 65536)))
    assert not sim.shared_races


def test_vector_and_short_accesses() -> None:
    body = """shl.b32 %r9, %t, 4; mov.u32 %r8, smem; add.u32 %r9, %r9, %r8; mov.u32 %r1, 5;
    st.shared.v4.b32 [%r9], {%t, %r1, %a, %a}; ld.shared.v2.b64 {%d0, %d1}, [%r9]; cvt.u32.u64 %r2, %d1;
    st.shared.v2.b16 [%r9+8], {7, 8}; ld.shared.s8 %r3, [%r9+8]; ld.shared.u16 %r4, [%r9+10];
    add.u32 %o0, %r2, %r3; add.u32 %o0, %o0, %r4;"""
    same(execute(body, u32(*LANES), shared=512), LANES + 15)
    body = "st.shared.b8 [%r9], 0x80; ld.shared.s8 %r1, [%r9]; ld.shared.u8 %r2, [%r9]; add.u32 %o0, %r1, %r2;"
    same(execute(SHARED_ADDRESS + body, shared=128), np.full(32, 0))


def test_predicated_load_with_hints() -> None:
    body = """ld.param.u64 %d0, [in0]; mad.wide.u32 %d0, %t, 4, %d0; setp.lt.u32 %p1, %t, 5; mov.u32 %o0, 3;
    createpolicy.fractional.L2::evict_first.b64 %d1, 1.0;
    @%p1 ld.global.L1::evict_last.L2::cache_hint.b32 { %o0 }, [ %d0 + 0 ], %d1;"""
    same(execute(body, u32(*(LANES + 50))), np.where(LANES < 5, LANES + 50, 3))


def test_parameters_and_grid() -> None:
    text = """.version 8.6
    .target sm_90
    .visible .entry k(.param .u64 .ptr .global .align 16 o,
    .param .f32 f, .param .u64 w, .param .u32 i, .param .u64 extra)
    .reqntid 32
    { .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<3>;
    mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ctaid.y; mov.u32 %r2, %ctaid.z; mov.u32 %r3, %tid.x;
    mad.lo.u32 %r4, %r2, 3, %r1; mad.lo.u32 %r4, %r4, 2, %r0; mad.lo.u32 %r4, %r4, 32, %r3;
    ld.param.u64 %d0, [o]; mad.wide.u32 %d0, %r4, 32, %d0;
    ld.param.f32 %f1, [f]; st.global.f32 [%d0], %f1;
    ld.param.u64 %d1, [w]; st.global.u64 [%d0+8], %d1;
    ld.param.u32 %r5, [i]; st.global.u32 [%d0+16], %r5;
    ld.param.u64 %d2, [extra]; st.global.u64 [%d0+24], %d2;
    ret; }"""
    out = np.full((4 * 3 * 2 * 32, 4), 2**64 - 1, np.uint64)
    Sim(text, (2, 3, 4), 0, [out, 0.5, 2**63 + 1, -2]).run()
    assert (out[:, 0].view(np.uint64) & 0xFFFFFFFF == 0x3F000000).all()
    assert (out[:, 1] == 2**63 + 1).all()
    assert (out[:, 2] & 0xFFFFFFFF == ONES - 1).all()
    assert (out[:, 3] == 0).all()


# ---------------------------------------------------------------------------------------- control flow


def test_loop_with_different_trip_counts() -> None:
    body = """mov.u32 %o0, 0; mov.u32 %r1, 0;
    $loop: setp.ge.u32 %p1, %r1, %a; @%p1 bra $done; add.u32 %o0, %o0, %r1; add.u32 %r1, %r1, 1; bra.uni $loop;
    $done: shfl.sync.bfly.b32 %o0, %o0, 1, 31, -1;"""
    n = LANES * 5 % 13
    same(execute(body, u32(*n)), (n * (n - 1) // 2)[LANES ^ 1])


def test_branches_meet_before_a_collective() -> None:
    """The second arm lies behind the collective in the text, yet runs before it."""
    body = """setp.lt.u32 %p1, %a, 7; mov.u32 %o0, 1; @%p1 bra $arm; add.u32 %o0, %a, 100; bra $join;
    $join: shfl.sync.idx.b32 %o0, %o0, 3, 31, -1; bra $end;
    $arm: add.u32 %o0, %a, 200; bra $join;
    $end: mov.u32 %r0, 0;"""
    same(execute(body, u32(*LANES)), np.full(32, 203))


def test_counts() -> None:
    sim, _ = simulate("add.u32 %r1, %t, 1; add.u32 %r1, %t, 1;", threads=64, grid=3)
    assert sim.count["add.u32"] == 2 * 6
    assert sim.steps == 4 + 2 + 1


# -------------------------------------------------------------------------------------- faults are found

NEIGHBOUR = "xor.b32 %r10, %t, 32; mul.lo.u32 %r10, %r10, 4; add.u32 %r10, %r10, %r8;"


def races(body: str, threads: int = 64) -> int:
    sim, _ = simulate(SHARED_ADDRESS + NEIGHBOUR + body, threads=threads, shared=1024)
    return sum(sim.shared_races.values())


def test_read_write_race() -> None:
    assert races("st.shared.b32 [%r9], %t; ld.shared.b32 %r1, [%r10];") == 256
    assert races("st.shared.b32 [%r9], %t; bar.sync 0; ld.shared.b32 %r1, [%r10];") == 0
    assert races("ld.shared.b32 %r1, [%r10]; st.shared.b32 [%r9], %t;") == 256
    assert races("ld.shared.b32 %r1, [%r10]; bar.sync 0; st.shared.b32 [%r9], %t;") == 0
    assert races("st.shared.b32 [%r9], %t; bar.warp.sync -1; ld.shared.b32 %r1, [%r10];") == 256
    assert races("st.shared.b32 [%r9], %t; bar.sync 0; bar.sync 0; ld.shared.b32 %r1, [%r9];") == 0


def test_race_of_single_bytes() -> None:
    """Each thread writes its byte; then warp w reads byte ``first`` + w."""
    body = """add.u32 %r11, %t, %r8; st.shared.b8 [%r11], 1; shr.u32 %r12, %t, 5; add.u32 %r12, %r12, %r8;
    ld.shared.b8 %h1, [%r12+{first}];"""
    assert races(body.format(first=31)) == 0
    assert races(body.format(first=32)) == 32


def test_write_write_race() -> None:
    assert races("st.shared.b32 [%r9], 1; st.shared.b32 [%r10], 2;") == 256
    assert races("st.shared.b32 [%r9], 1; bar.sync 0; st.shared.b32 [%r10], 2;") == 0
    assert races("st.shared.b32 [%r8], %t;") > 0  # within one instruction
    assert races("st.shared.b32 [%r8], 5;") == 0  # the same bytes by all: a replicated layout


def test_race_of_matrix_instructions() -> None:
    rows = "and.b32 %r11, %t, 7; shl.b32 %r11, %r11, 4; add.u32 %r11, %r11, %r8;"
    load = "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%r11];"
    store = "stmatrix.sync.aligned.m8n8.x1.shared.b16 [%r11], {%t};"
    assert races(rows + "st.shared.b32 [%r9], %t;" + load) == 128  # warp 1 reads what warp 0 wrote
    assert races(rows + "st.shared.b32 [%r9], %t; bar.sync 0;" + load) == 0
    assert races(rows + load + "bar.sync 0; st.shared.b32 [%r9], %t;") == 0
    assert races(rows + store) == 128


COPY = "ld.param.u64 %d0, [in0]; mad.wide.u32 %d0, %t, 4, %d0; cp.async.ca.shared.global [%r9], [%d0], 4;"


def copies(body: str) -> tuple[int, Array]:
    value = u32(*range(64))
    sim, (out,) = simulate(SHARED_ADDRESS + NEIGHBOUR + COPY + body, value, outputs="u4", threads=64, shared=1024)
    return sum(sim.shared_races.values()), out


def test_asynchronous_copies() -> None:
    own, other = "ld.shared.b32 %o0, [%r9];", "ld.shared.b32 %o0, [%r10];"
    races, out = copies("cp.async.commit_group; cp.async.wait_group 0; bar.sync 0;" + other)
    assert races == 0
    same(out, np.arange(64) ^ 32)
    assert copies("cp.async.wait_all;" + own)[0] == 0
    assert copies(own)[0] == 256  # not waited for, not even by its own thread
    assert copies("bar.sync 0;" + other)[0] == 256  # a barrier does not wait for copies
    assert copies("cp.async.commit_group; cp.async.wait_group 1; bar.sync 0;" + other)[0] == 256
    assert copies("cp.async.commit_group; cp.async.commit_group; cp.async.wait_group 1; bar.sync 0;" + other)[0] == 0
    assert copies("cp.async.commit_group; cp.async.wait_group 0;" + other)[0] == 256  # waited, but no barrier
    assert copies("cp.async.wait_group 0; bar.sync 0;" + other)[0] == 256  # never committed
    assert copies("st.shared.b32 [%r9], 1; cp.async.wait_all;")[0] == 256
    body = "mov.u32 %r1, 0; setp.lt.u32 %p1, %t, 9; selp.u32 %r1, 4, 0, %p1; cp.async.wait_all;"
    body += "cp.async.ca.shared.global [%r9], [%d0], 4, %r1; cp.async.wait_all;" + own
    same(copies(body)[1], np.where(np.arange(64) < 9, np.arange(64), 0))


def conflicts(address: str, ctas: int = 2) -> int:
    buffer = np.zeros(64, np.uint32)
    body = f"ld.param.u64 %d0, [in0]; {address}"
    text = kernel(body, [buffer], [], 32)
    return sum(Sim(text, (ctas,), 0, [buffer]).run().global_conflicts.values())


def test_conflicts_between_ctas() -> None:
    mine, same_place = "mad.wide.u32 %d1, %g, 4, %d0;", "mad.wide.u32 %d1, %t, 4, %d0;"
    # the kernel's own load covers words 0 to 31 in both CTAs: CTA 1's words 32 to 63 are its own
    assert conflicts("mov.u32 %r0, 0;") == 0
    assert conflicts(mine + "add.u64 %d1, %d1, 128; st.global.b32 [%d1], 1;", ctas=1) == 0
    assert conflicts(same_place + "st.global.b32 [%d1+128], 1;") == 128  # write/write, in one instruction
    assert conflicts(same_place + "setp.eq.u32 %p1, %g, %t; @%p1 st.global.b32 [%d1], 1;") == 128  # both had read it
    first = "mov.u32 %r0, %ctaid.x; setp.eq.u32 %p1, %r0, 0;"
    assert conflicts(first + same_place + "@%p1 st.global.b32 [%d1+128], 1; @!%p1 ld.global.b32 %r1, [%d1+128];") == 128
    assert conflicts(first + same_place + "@%p1 st.global.b32 [%d1+128], 1; @%p1 ld.global.b32 %r1, [%d1+128];") == 0


@pytest.mark.parametrize(("barrier", "races"), [("", 256), ("bar.sync 0;", 0)])
def test_races_through_global_memory(barrier: str, races: int) -> None:
    """Every thread stores a word and loads that of a thread of the other warp."""
    buffer = np.zeros(64, np.uint32)
    body = f"""ld.param.u64 %d0, [in0]; mad.wide.u32 %d1, %t, 4, %d0; st.global.b32 [%d1], %t; {barrier}
        xor.b32 %r0, %t, 32; mad.wide.u32 %d1, %r0, 4, %d0; ld.global.b32 %r1, [%d1];"""
    sim = Sim(kernel(body, [buffer], [], 64), (1,), 0, [buffer]).run()
    assert sum(sim.global_races.values()) == races
    assert not sim.global_conflicts


FAULTS = [
    (
        "ld.param.u64 %d0, [in0]; ld.global.b8 %h0, [%d0+128];",
        "offset 128 [+] 1 in array 0 of 128 bytes",
    ),
    ("ld.param.u64 %d0, [in0]; mad.wide.u32 %d0, %t, 4, %d0; st.global.b32 [%d0+4], %t;", "offset 128 .* 33 lanes"),
    ("ld.param.u64 %d0, [in0]; ld.global.b8 %h0, [%d0+-1];", "out of bounds|no buffer"),
    ("ld.param.u64 %d0, [in0]; ld.global.b32 %r0, [%d0+2];", "misaligned access of 4 bytes to global"),
    ("mov.b64 %d0, 64; ld.global.b32 %r0, [%d0];", "belongs to no buffer"),
    ("mov.b32 %r0, smem; ld.shared.b8 %h0, [%r0+64];", "out of bounds of the 64 bytes of shared"),
    ("mov.b32 %r0, smem; ld.shared.v2.b32 {%r1, %r2}, [%r0+4];", "misaligned access of 8 bytes to shared"),
    ("ld.local.b32 %r0, [%r1];", "local memory"),
    ("setp.lt.u32 %p1, %t, 7; @%p1 bra $stop; shfl.sync.bfly.b32 %r1, %t, 1, 31, -1;", "warp collective"),
    ("setp.lt.u32 %p1, %t, 7; @%p1 vote.sync.ballot.b32 %r1, %p1, -1;", "warp collective"),
    ("setp.lt.u32 %p1, %t, 7; @%p1 shfl.sync.idx.b32 %r1, %t, 9, 31, 0x7F;", "does not take part"),
    ("setp.lt.u32 %p1, %t, 7; @%p1 bar.sync 0;", "warp collective"),
    ("setp.lt.u32 %p1, %t, 32; @%p1 bra $stop; bar.sync 0;", "deadlock"),
    ("setp.lt.u32 %p1, %t, 32; @%p1 bar.sync 0; @!%p1 bar.sync 1;", "deadlock"),
    ("bar.sync 1, 32;", "not modelled"),
    ("div.u32 %r0, %t, 0;", "division by zero"),
    ("trap;", "trap"),
    ("$again: bra $again;", "more than 1000 steps"),
    ("frobnicate.b32 %r0, %t;", r"unsupported opcode frobnicate.b32 .* at pc \d+ .frobnicate.b32 %r0, %t. \(a.py:12\)"),
    ("add.rz.f32 %r0, %t, %t;", "unsupported opcode add.rz.f32 .'rz'."),
    ("tcgen05.wait::ld.sync.aligned;", "unsupported opcode tcgen05"),
    ("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%r0}, {%r1, %r1}, {%r2}, {%r0};", "types of mma"),
    ("mov.b32 %r0, %nothing;", "unknown operand"),
    ("cvt.u64.u32 %r0, %t;", "too narrow"),
    ("bra $nowhere;", "unknown branch target"),
]


@pytest.mark.parametrize(("body", "message"), FAULTS, ids=lambda v: v[:40])
def test_faults_raise(body: str, message: str) -> None:
    buffer = np.zeros(32, np.uint32)
    text = kernel(".loc 1 12 3\n" + body, [], [], 64).replace("k()", "k(.param .u64 in0)")
    text = '.file 1 "/some/where/a.py"\n' + text
    with pytest.raises(SimError, match=message):
        Sim(text, (1,), 64, [buffer], max_steps=1000).run()


def test_arguments_are_checked() -> None:
    buffer = np.zeros(32, np.uint32)
    text = kernel("", [buffer, buffer], [], 32)
    with pytest.raises(ValueError, match="2 parameters, got 3"):
        Sim(text, (1,), 0, [buffer, buffer, 1])
    with pytest.raises(ValueError, match="overlap"):
        Sim(text, (1,), 0, [buffer, buffer[1:]])
    with pytest.raises(ValueError, match="contiguous"):
        Sim(text, (1,), 0, [buffer[::2]])
    constant = np.zeros(32, np.uint32)
    constant.flags.writeable = False
    store = kernel("ld.param.u64 %d0, [in0]; st.global.b32 [%d0], 1;", [buffer], [], 32)
    with pytest.raises(SimError, match="read-only"):
        Sim(store, (1,), 0, [constant]).run()


# ------------------------------------------------------------------------------- kernels that Triton compiled

KERNELS = """
import triton
import triton.language as tl


@triton.jit
def add(x, y, o, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(o + i, tl.load(x + i, mask=i < n) + tl.load(y + i, mask=i < n), mask=i < n)


@triton.jit
def dot(x, y, o, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    a = tl.load(x + m[:, None] * K + k[None, :])
    b = tl.load(y + k[:, None] * N + n[None, :])
    tl.store(o + m[:, None] * N + n[None, :], tl.dot(a, b, input_precision=PRECISION))


@triton.jit
def dot_transposed(x, y, o, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, PRECISION: tl.constexpr):
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    a = tl.load(x + m[:, None] * K + k[None, :])
    b = tl.load(y + n[:, None] * K + k[None, :])
    tl.store(o + m[:, None] * N + n[None, :], tl.dot(a, b.trans(1, 0), input_precision=PRECISION))


@triton.jit
def dot_loop(x, y, o, n_steps, D: tl.constexpr, M: tl.constexpr, K: tl.constexpr):
    m, d, k = tl.program_id(0) * M + tl.arange(0, M), tl.arange(0, D), tl.arange(0, K)
    acc = tl.zeros((M, D), tl.float32)
    for step in range(n_steps):
        a = tl.load(x + m[:, None] * K * n_steps + (step * K + k)[None, :])
        b = tl.load(y + (step * K + k)[:, None] * D + d[None, :])
        acc = tl.dot(a, b, acc, input_precision="tf32x3")
    tl.store(o + m[:, None] * D + d[None, :], acc)


@triton.jit
def total(x, o, R: tl.constexpr, C: tl.constexpr):
    r, c = tl.arange(0, R), tl.arange(0, C)
    value = tl.load(x + r[:, None] * C + c[None, :])
    tl.store(o + c, tl.sum(value, axis=0))
    tl.store(o + C, tl.sum(value))


@triton.jit
def words(o, seed, first, N: tl.constexpr):
    i = tl.arange(0, N)
    c0, c1, c2, c3 = tl.philox(seed, i + first, i * 3, i * 0 + 7, i * 5)
    tl.store(o + i * 4, c0.to(tl.int32, bitcast=True))
    tl.store(o + i * 4 + 1, c1.to(tl.int32, bitcast=True))
    tl.store(o + i * 4 + 2, c2.to(tl.int32, bitcast=True))
    tl.store(o + i * 4 + 3, c3.to(tl.int32, bitcast=True))
"""
CAPABILITIES = [80, 90, 100]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Compiles a kernel of the text above for a GPU that need not be there."""
    pytest.importorskip("triton", reason="Triton is not installed")
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    path = tmp_path_factory.mktemp("kernels") / "kernels_for_ptxsim.py"  # Triton reads the source from a file
    path.write_text(KERNELS)
    spec = importlib.util.spec_from_file_location("kernels_for_ptxsim", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def build(
        name: str, capability: int, signature: dict[str, str], warps: int = 4, stages: int = 2, **constants: Any
    ) -> Any:
        signature = signature | dict.fromkeys(constants, "constexpr")
        attributes = {(i,): [["tt.divisibility", 16]] for i, ty in enumerate(signature.values()) if ty[0] == "*"}
        source = ASTSource(fn=getattr(module, name), signature=signature, constexprs=constants, attrs=attributes)
        return compile(
            source, target=GPUTarget("cuda", capability, 32), options={"num_warps": warps, "num_stages": stages}
        )

    return build


def shorten(x: Array, ty: str) -> Array:
    """float32 values as Triton's type of that name; bf16 as its words."""
    if ty == "bf16":
        return (x.view(np.uint32) >> 16).astype(np.uint16)
    return x.astype({"fp16": np.float16, "fp32": np.float32}[ty])


def check_clean(sim: Sim) -> None:
    assert not sim.shared_races
    assert not sim.global_conflicts


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_triton_masked_add(compiled: Callable[..., Any], capability: int) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 1000)).astype(np.float32)
    add = compiled("add", capability, dict(x="*fp32", y="*fp32", o="*fp32", n="i32"), BLOCK=256)
    out = np.full(1003, NAN, np.float32)
    check_clean(launch(add, (4,), x, y, out, 1000))
    same(out[:1000], x + y)
    assert np.isnan(out[1000:]).all()
    with pytest.raises(SimError, match="out of bounds"):
        launch(add, (4,), x[:999], y, out, 1000)


@pytest.mark.parametrize("capability", CAPABILITIES)
@pytest.mark.parametrize(("precision", "tolerance"), [("ieee", 2e-6), ("tf32", 3e-3), ("tf32x3", 4e-6)])
def test_triton_dot(compiled: Callable[..., Any], capability: int, precision: str, tolerance: float) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 32, 32)).astype(np.float32)
    x = np.ascontiguousarray(x[:16])
    constants = dict(M=16, N=32, K=32, PRECISION=precision)
    dot = compiled("dot", capability, dict(x="*fp32", y="*fp32", o="*fp32"), **constants)
    out = np.full((16, 32), NAN, np.float32)
    sim = launch(dot, (1,), x, y, out)
    check_clean(sim)
    assert any("mma" in op for op in sim.count) == (precision != "ieee")
    exact = x.astype(np.float64) @ y.astype(np.float64)
    error = np.abs(out - exact).max() / np.abs(exact).max()
    assert tolerance / 100 < error < tolerance


@pytest.mark.parametrize("ty", ["fp16", "bf16"])
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_triton_dot_of_short_floats(compiled: Callable[..., Any], capability: int, ty: str) -> None:
    x, y = np.random.default_rng(0).integers(-8, 9, (2, 32, 32)).astype(np.float32)
    x = np.ascontiguousarray(x[:16])
    short = [shorten(v, ty) for v in (x, y)]
    dot = compiled("dot", capability, dict(x=f"*{ty}", y=f"*{ty}", o="*fp32"), M=16, N=32, K=32, PRECISION="ieee")
    out = np.full((16, 32), NAN, np.float32)
    check_clean(launch(dot, (1,), *short, out))
    same(out, x @ y)


@pytest.mark.parametrize(("m", "n", "k"), [(64, 64, 16), (64, 128, 32), (128, 32, 64)])
@pytest.mark.parametrize(("ty", "precision"), [("fp32", "tf32x3"), ("fp16", "ieee"), ("bf16", "ieee")])
def test_triton_wgmma(compiled: Callable[..., Any], ty: str, precision: str, m: int, n: int, k: int) -> None:
    """Rows of 32, 64 and 128 bytes give the three swizzles."""
    generator = np.random.default_rng(0)
    x, y = (generator.integers(-8, 9, shape).astype(np.float32) for shape in [(m, k), (n, k)])
    signature = dict(x=f"*{ty}", y=f"*{ty}", o="*fp32")
    dot = compiled("dot_transposed", 90, signature, M=m, N=n, K=k, PRECISION=precision)
    out = np.full((m, n), NAN, np.float32)
    sim = launch(dot, (1,), shorten(x, ty), shorten(y, ty), out)
    check_clean(sim)
    assert any("wgmma.mma_async" in op for op in sim.count)
    same(out, x @ y.T)


@pytest.mark.parametrize("warps", [1, 4, 8])
@pytest.mark.parametrize("capability", CAPABILITIES)
def test_triton_reduction(compiled: Callable[..., Any], capability: int, warps: int) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (64, 32)).astype(np.float32)
    total = compiled("total", capability, dict(x="*fp32", o="*fp32"), warps, R=64, C=32)
    out = np.full(33, NAN, np.float32)
    check_clean(launch(total, (1,), x, out))
    same(out, [*x.sum(0), x.sum()])


@pytest.mark.parametrize(("capability", "stages"), [(80, 3), (90, 1), (100, 2)])
def test_triton_pipelined_loop(compiled: Callable[..., Any], capability: int, stages: int) -> None:
    """Copies that run ahead of the products are waited for; a lost wait or barrier is seen."""
    generator = np.random.default_rng(0)
    x, y = (generator.normal(size=shape).astype(np.float32) for shape in [(32, 128), (128, 64)])
    signature = dict(x="*fp32", y="*fp32", o="*fp32", n_steps="i32")
    dot = compiled("dot_loop", capability, signature, stages=stages, D=64, M=16, K=32)
    text, out = dot.asm["ptx"], np.full((32, 64), NAN, np.float32)
    check_clean(launch(dot, (2,), x, y, out, 4))
    assert np.abs(out - x.astype(np.float64) @ y).max() < 1e-4
    assert ("cp.async.wait_group" in text) == (stages > 1)
    start = text.find("cp.async.wait_group")  # barriers before it precede any read: one of them is superfluous
    for at in (found.start() for found in re.finditer("bar.sync", text) if found.start() > start):
        mutant = Sim(text[:at] + "// " + text[at:], (2,), dot.metadata.shared, [x, y, out, 4]).run()
        assert mutant.shared_races
    unwaited = Sim(text.replace("cp.async.wait_group", "// "), (2,), dot.metadata.shared, [x, y, out, 4]).run()
    assert bool(unwaited.shared_races) == (stages > 1)


def test_each_barrier_of_a_reduction_is_needed(compiled: Callable[..., Any]) -> None:
    """The values stay right in lockstep: only the detector sees that a barrier is missing."""
    total = compiled("total", 90, dict(x="*fp32", o="*fp32"), 4, R=64, C=32)
    text, x = total.asm["ptx"], np.ones((64, 32), np.float32)
    barriers = [found.start() for found in re.finditer("bar.sync", text)]
    assert barriers
    found = 0
    for at in barriers:
        out = np.zeros(33, np.float32)
        mutant = Sim(text[:at] + "// " + text[at:], (1,), total.metadata.shared, [x, out]).run()
        same(out, [*x.sum(0), x.sum()])
        found += bool(mutant.shared_races)
    assert found == len(barriers)


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_triton_philox(compiled: Callable[..., Any], capability: int) -> None:
    seed, n = 2**63 + 12345, 256
    words = compiled("words", capability, dict(o="*i32", seed="u64", first="i32"), N=n)
    out = np.zeros((n, 4), np.uint32)
    check_clean(launch(words, (1,), out, seed, 2**31 - 100))
    i = torch.arange(n)
    expected = rng.philox((i + 2**31 - 100, i * 3, i * 0 + 7, i * 5), seed)
    same(out, torch.stack(expected, 1).numpy().astype(np.uint32))
