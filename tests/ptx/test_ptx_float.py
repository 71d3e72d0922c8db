"""The simulator's floating point: rounding, comparisons and conversions against values worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from ptxbody import INF, NAN, ONES, Array, execute, f32, same, u32, u64


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


# conversions

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


@pytest.mark.parametrize(
    ("function", "x", "exact", "error"),
    [
        ("ex2", np.linspace(0.1, 4, 16), np.exp2, lambda y: np.abs(y) * 2.0**-22),
        ("sqrt", np.linspace(0.1, 4, 16), np.sqrt, lambda y: np.abs(y) * 2.0**-23),
        ("lg2", 1 - np.geomspace(2.0**-20, 0.49, 16), np.log2, lambda y: 2.0**-22 + 0 * y),
        ("lg2", np.geomspace(2.5, 1e6, 16), np.log2, lambda y: np.abs(y) * 2.0**-22),
        ("sin", np.linspace(-3, 3.1, 16), np.sin, lambda y: 2.0**-21.41 + 0 * y),
        ("cos", np.linspace(-3, 3.1, 16), np.cos, lambda y: 2.0**-21.19 + 0 * y),
        ("sin", np.linspace(3.2, 6.2, 16), np.sin, lambda y: 2.0**-20.5 + 0 * y),
        ("cos", np.linspace(6.4, 300, 16), np.cos, lambda y: 2.0**-14.7 + 0 * y),
    ],
)
def test_approximations_have_the_largest_error(
    function: str, x: Array, exact: Callable[[Array], Array], error: Callable[[Array], Array]
) -> None:
    x = np.resize(x, 32).astype(np.float32)  # each value twice
    y = exact(x.astype(np.float64))
    got = execute(f"{function}.approx.f32 %o0, %a;", x, out="f4", worst=True)
    ulp = np.spacing(np.abs(y).astype(np.float32)).astype(np.float64)
    off = np.abs(got - y) / error(y)
    assert (off <= 1).all()
    assert (off >= 1 - ulp / error(y)).all()
    assert (got[:16] == got[16:]).all()
    assert (got != execute(f"{function}.approx.f32 %o0, %a;", x, out="f4", worst=True, seed=1)).any()


def test_what_is_rounded_has_no_other_error() -> None:
    x = np.linspace(0.1, 4, 32).astype(np.float32)
    same(execute("sqrt.rn.f32 %o0, %a;", x, out="f4", worst=True), np.sqrt(x))
    same(execute("ex2.approx.f32 %o0, %a;", x, out="f4"), np.exp2(x.astype(np.float64)).astype(np.float32))
