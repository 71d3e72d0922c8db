"""The simulator's products of warp groups: layouts in registers and in shared memory, and every order that is not
guaranteed."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ptxbody import SHARED_ADDRESS, Array, same, simulate
from ptxsim import Sim, SimError

T = np.arange(128)
ROW, COLUMN = T // 32 * 16 + T % 32 // 4, 2 * (T % 4)
"""Of a thread's first number of an accumulator; its others lie 1 beside, 8 below and multiples of 8 beside that."""
PRODUCT = "wgmma.mma_async.sync.aligned.m64n8k8.f32.tf32.tf32 {%r2, %r3, %r4, %r5}, "
WAIT = "wgmma.wait_group.sync.aligned 0;"
COMMIT = "wgmma.commit_group.sync.aligned;"
FENCE = "wgmma.fence.sync.aligned;"
START = f"""{SHARED_ADDRESS} cvt.rn.f32.u32 %r1, %t; setp.eq.u32 %p2, 0, 0;
st.shared.b32 [%r9], %r1; st.shared.b32 [%r9+512], 0f40000000; st.shared.b32 [%r9+1024], 0f40400000;
st.shared.b32 [%r9+1536], %r1; setp.gt.u32 %p1, %t, 63; @!%p1 st.shared.b32 [%r9+2048], %r1;
cvt.rn.f32.u32 %r2, 0; cvt.rn.f32.u32 %r3, 0; cvt.rn.f32.u32 %r4, 1; cvt.rn.f32.u32 %r5, 0;
fence.proxy.async.shared::cta; bar.sync 0; {FENCE} """
WGMMA = START + PRODUCT + "0x1000080000, 0x1000080080, %p2, 1, 1; " + COMMIT
"""A of 64 x 8 and B of 8 x 8 numbers in shared memory, without swizzle."""


def run(body: str) -> Sim:
    return simulate(body, threads=128, shared=2304)[0]


def test_unswizzled_matrices() -> None:
    """Blocks of 8 rows of 16 bytes; the second half of a row follows 128 bytes later, 8 more rows 256 later."""
    outs = "mov.b32 %o0, %r2; mov.b32 %o1, %r3; mov.b32 %o2, %r4; mov.b32 %o3, %r5;"
    sim, out = simulate(WGMMA + WAIT + outs, outputs="f4 f4 f4 f4", threads=128, shared=2304)
    word = np.concatenate([np.arange(128), np.full(128, 2), np.full(128, 3), np.arange(128), np.arange(64)])
    row, k = np.arange(64)[:, None], np.arange(8)
    a = word[row // 8 * 64 + row % 8 * 4 + k // 4 * 32 + k % 4]
    b = word[512 + row[:8] * 4 + k // 4 * 32 + k % 4]
    d = a @ b.T
    for i, values in enumerate(out):
        same(values, (d[ROW + 8 * (i // 2), COLUMN + i % 2] + (i == 2)).astype(np.float32))
    assert not sim.shared_races


def halves(values: Array, ty: str) -> Array:
    """Words of 32 bits with two numbers each, the first in the lower half."""
    short = values.astype(np.float16).view("u2") if ty == "f16" else values.astype("f4").view("u4") >> 16
    return np.ascontiguousarray(short.astype("u2")).view("u4")


@pytest.mark.parametrize("ty", ["bf16", "f16"])
@pytest.mark.parametrize("width", [32, 64, 128])
def test_swizzled_matrices(width: int, ty: str) -> None:
    """A in registers, the same for every 16 columns of a row of ``width`` bytes of B. Pieces of 16 bytes lie at their
    number xor that of their row among those that 128 bytes repeat: rows 0-7 of 128 bytes, 0-3 of 64, 0-1 of 32."""
    generator = np.random.default_rng(width)
    b, given = generator.integers(-8, 9, (16, width // 2)), generator.integers(-8, 9, (128, 2))
    pieces = halves(b, ty).reshape(16, width // 16, 4)
    image = np.empty_like(pieces)
    for r in range(16):
        for c in range(width // 16):
            image[r, c ^ (r // (128 // width) % (width // 16))] = pieces[r, c]
    words = np.resize(image.reshape(-1), 512).reshape(4, 128)
    mode = {128: 1, 64: 2, 32: 3}[width]
    d = "{" + ", ".join(f"%r{i}" for i in range(20, 28)) + "}"
    body = SHARED_ADDRESS + "".join(f"st.shared.b32 [%r9+{512 * i}], %{r};" for i, r in enumerate("abce"))
    body += "xor.b32 %r1, %f, 0x80008000; xor.b32 %r2, %f, 0x8000; xor.b32 %r3, %f, 0x80000000; setp.eq.u32 %p2, 0, 0;"
    body += "".join(f"cvt.rn.f32.u32 %r{i}, %t;" for i in range(20, 28)) + "fence.proxy.async; bar.sync 0;" + FENCE
    for k in range(width // 32):
        descriptor = 2 * k | width // 2 << 32 | mode << 62
        body += f"wgmma.mma_async.sync.aligned.m64n16k16.f32.{ty}.{ty} {d}, {{%f, %r1, %r2, %r3}}, {descriptor:#x}, "
        body += "%p2, 1, 1, 0;" if k else "!%p2, 1, 1, 0;"  # the first without what the accumulators hold
    body += COMMIT + WAIT + "".join(f"mov.b32 %o{i}, %r{20 + i};" for i in range(8))
    sim, out = simulate(body, *words, halves(given, ty)[:, 0], outputs="f4 " * 8, threads=128, shared=2048)
    a = np.empty((64, 16))
    for half, (below, beside) in enumerate([(0, 0), (8, 0), (0, 8), (8, 8)]):
        for i in range(2):
            sign = -1 if half == 1 or (half == 2 and i == 0) or (half == 3 and i == 1) else 1
            a[ROW + below, COLUMN + beside + i] = sign * given[:, i]
    expected = a @ b.reshape(16, -1, 16).sum(1).T
    for i, values in enumerate(out):
        same(values, expected[ROW + 8 * (i // 2 % 2), COLUMN + i % 2 + 8 * (i // 4)].astype(np.float32))
    assert not sim.shared_races


def test_a_product_is_rounded_once_for_16_columns() -> None:
    """1 + 2^-24 + 2^-24 in one instruction, not in two: as ``mma``."""
    tiny = np.float32(2.0**-24).view("u4") >> 16
    body = SHARED_ADDRESS + "st.shared.b32 [%r9], %a; mov.b32 %r1, 0; setp.eq.u32 %p2, 0, 0; setp.eq.u32 %p3, %t, 0;"
    body += "selp.b32 %r2, 0x3f803f80, 0, %p3; fence.proxy.async; bar.sync 0;" + FENCE
    d = "".join(f"cvt.rn.f32.u32 %r{i}, 1;" for i in range(4, 8)) + FENCE
    body += (
        d
        + "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%r4, %r5, %r6, %r7}, {%r2, %r1, %r1, %r1}, 0x1000080000"
    )
    body += ", %p2, 1, 1, 0;" + COMMIT + WAIT + "mov.b32 %o0, %r4;"
    _, (out,) = simulate(body, np.full(128, tiny << 16 | tiny, np.uint32), outputs="f4", threads=128, shared=512)
    assert out[0] == np.float32(1 + 2.0**-23)


RACES = [
    (WGMMA + WAIT + "bar.sync 0; st.shared.b32 [%r9], 1;", True),
    (WGMMA + WAIT + "st.shared.b32 [%r9], 1;", False),
    (WGMMA + "bar.sync 0; st.shared.b32 [%r9], 1;" + WAIT, False),
    (WGMMA + "wgmma.wait_group.sync.aligned 1; bar.sync 0; st.shared.b32 [%r9], 1;" + WAIT, False),
    (WGMMA.replace(COMMIT, "") + WAIT + "bar.sync 0; st.shared.b32 [%r9], 1;" + COMMIT + WAIT, False),
    (WGMMA.replace("bar.sync 0;", "") + WAIT, False),
    (WGMMA.replace("fence.proxy.async.shared::cta;", "") + WAIT, False),
    (WGMMA.replace("fence.proxy.async.shared::cta;", "fence.proxy.async.global;") + WAIT, False),
    (WGMMA.replace("fence.proxy.async.shared::cta; bar.sync 0;", "bar.sync 0; fence.proxy.async;") + WAIT, True),
    (WGMMA.replace("fence.proxy", "st.shared.b32 [%r9], %r1; fence.proxy") + WAIT, True),
    (WGMMA.replace("bar.sync 0;", "st.shared.b32 [%r9], %r1; bar.sync 0;") + WAIT, False),
]


@pytest.mark.parametrize(("body", "clean"), RACES)
def test_races_of_shared_memory(body: str, clean: bool) -> None:
    assert (not run(body).shared_races) == clean


AGAIN = PRODUCT + "0x1000080000, 0x1000080080, %p2, 1, 1; " + COMMIT
OTHER = AGAIN.replace("m64n8k8", "m64n16k8").replace("0x1000080080", "0x1000080000")
OTHER = OTHER.replace("%r5}", "%r5, %r6, %r7, %r10, %r11}")
HELD = "belong to a product that is not waited for"
UNFENCED = "unfenced"
ORDERS: list[tuple[str, str]] = [
    (WGMMA + "add.f32 %r6, %r2, %r3;", HELD),
    (WGMMA + "mov.b32 %r6, %r2;", HELD),
    (WGMMA + "mov.b32 %r2, 0;", HELD),
    (WGMMA + "st.shared.v2.b32 [%r8], {%r0, %r2};", HELD),
    (WGMMA + "wgmma.wait_group.sync.aligned 1; mov.b32 %r6, %r2;", HELD),
    (WGMMA.replace(COMMIT, "") + WAIT + "mov.b32 %r6, %r2;", HELD),
    (WGMMA + "add.u32 %r6, %r1, %r1;" + WAIT, ""),
    (WGMMA + AGAIN + WAIT, ""),
    (WGMMA + WAIT + AGAIN + WAIT, ""),  # accumulators of one shape
    (WGMMA + WAIT + OTHER + WAIT, UNFENCED),
    (WGMMA + WAIT + FENCE + OTHER + WAIT, ""),
    (WGMMA + FENCE + OTHER + WAIT, HELD),
    (WGMMA.replace(FENCE, ""), UNFENCED),
    (WGMMA + WAIT + "add.f32 %r2, %r3, %r3;" + AGAIN + WAIT, UNFENCED),
    (WGMMA + WAIT + "add.f32 %r6, %r2, %r3;" + AGAIN + WAIT, UNFENCED),  # read, too
    (WGMMA + WAIT + "add.f32 %r6, %r1, %r1;" + FENCE + "mov.b32 %r2, %r6;" + AGAIN + WAIT, ""),  # a name of %r6
    (WGMMA + WAIT + FENCE + "add.f32 %r6, %r1, %r1; mov.b32 %r2, %r6;" + AGAIN + WAIT, UNFENCED),
    (WGMMA + WAIT + "setp.gt.u32 %p1, %t, 63; @%p1 add.f32 %r2, %r3, %r3;" + AGAIN + WAIT, UNFENCED),
    (WGMMA + WAIT + "setp.gt.u32 %p1, %t, 127; @%p1 add.f32 %r2, %r3, %r3;" + AGAIN + WAIT, ""),  # nobody does
    (WGMMA.replace("fence.proxy", "setp.gt.u32 %p1, %t, 63; @%p1 fence.proxy"), "a fence by a part of a CTA"),
    (START + "setp.gt.u32 %p1, %t, 31; @%p1 " + AGAIN, "a part of a warp group"),
    (START + "mul.wide.u32 %d1, %t, 1;" + AGAIN.replace("0x1000080080", "%d1"), "differs within a warp group"),
    (START + AGAIN.replace("0x1000080080", "0x2001000080080"), "descriptor of a matrix is not modelled"),
    (START + AGAIN.replace("1, 1;", "-1, 1;"), "form of wgmma is not modelled"),
]


@pytest.mark.parametrize(("body", "message"), ORDERS)
def test_orders_of_registers(body: str, message: str) -> None:
    check(body, message)


def check(body: str, message: str) -> None:
    if message in ("", UNFENCED):
        assert bool(sum(run(body).unfenced.values())) == (message == UNFENCED)
        return
    with pytest.raises(SimError, match=message):
        run(body)


def test_registers_of_a() -> None:
    """They may be named by several products, but not touched before those are waited for, nor after the fence."""
    a = AGAIN.replace("0x1000080000", "{%r10, %r11, %r12, %r13}")
    made = "".join(f"cvt.rn.f32.u32 %r{i}, %t;" for i in range(10, 14))
    check(START + made + FENCE + a + a + WAIT + made, "")
    check(START + made + a + WAIT, UNFENCED)
    check(START + made + FENCE + a + made, HELD)
    check(START + made + FENCE + a + "add.u32 %r6, %r10, 1;", HELD)


def test_every_order_of_a_chain_is_needed() -> None:
    """Two products of what the first gave: each fence, wait and barrier deleted in turn is seen."""
    chain = f"""{SHARED_ADDRESS} cvt.rn.f32.u32 %r1, %t; setp.eq.u32 %p2, 0, 0; st.shared.b32 [%r9+2048], %r1;
    fence.proxy.async; bar.sync 0; {"".join(f"cvt.rn.f32.u32 %r{i}, %t;" for i in (2, 3, 4, 5, 10, 11, 12, 13))}"""
    a = AGAIN.replace("0x1000080000", "{%r10, %r11, %r12, %r13}")
    chain += f"""{FENCE} {a} {WAIT} add.f32 %r10, %r2, %r3; {FENCE} {a} {WAIT} bar.sync 0;
    st.shared.b32 [%r9+2048], %r2; fence.proxy.async; bar.sync 0; {FENCE} {a} {WAIT} add.f32 %r6, %r2, %r3;"""
    found = list(re.finditer(r"(wgmma\.(fence|wait_group|commit_group)|fence\.proxy|bar\.sync)[^;]*;", chain))
    assert len(found) == 14
    for one in [None, *found]:
        body = chain[: one.start()] + chain[one.end() :] if one else chain
        try:
            sim = simulate(body, threads=128, shared=4096)[0]
            seen = sum(sim.shared_races.values()) + sum(sim.unfenced.values())
        except SimError:
            seen = 1
        assert bool(seen) == bool(one), one
