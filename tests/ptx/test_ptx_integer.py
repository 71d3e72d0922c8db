"""The simulator's integers against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ptxbody import ONES, Array, execute, same, u32, u64

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
