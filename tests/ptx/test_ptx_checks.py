"""What the simulator must find: races, conflicts, accesses out of bounds, what it does not model."""

from __future__ import annotations

import numpy as np
import pytest

from ptxbody import SHARED_ADDRESS, Array, kernel, same, simulate, u32
from ptxsim import Sim, SimError

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
