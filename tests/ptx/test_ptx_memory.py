"""The simulator's memory: loads, stores and copies of matrices, parameters."""

from __future__ import annotations

import numpy as np
import pytest

from ptxaccess import Rows
from ptxbody import FOOTER, HEADER, LANES, ONES, SHARED_ADDRESS, execute, same, simulate, u32
from ptxsim import Sim, SimError


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


@pytest.mark.parametrize("offset", [2**35, 2**35 - 4, 128, 2**36])
def test_rows_may_lie_far_apart(offset: int) -> None:
    """Row 1 of two begins 2^35 bytes after row 0, with nothing between them."""
    text = HEADER.format(parameters=".param .u64 out", threads=32, declarations="") + (
        f"ld.param.u64 %x, [out]; add.s64 %x, %x, {offset}; mad.wide.u32 %x, %t, 4, %x; st.global.b32 [%x], %t;"
    )
    out = np.zeros((2, 32), np.uint32)
    sim = Sim(text + FOOTER, (1,), 0, [Rows(out, 2**35)])
    if offset == 2**35:
        sim.run()
        same(out, np.stack([0 * LANES, LANES]))
    else:
        with pytest.raises(SimError, match="out of bounds"):
            sim.run()
