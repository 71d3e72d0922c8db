"""The simulator's warps: branches, exchanges between lanes, and matrix products in the documented layouts."""

from __future__ import annotations

import numpy as np
import pytest

from ptxbody import FOOTER, HEADER, LANES, NAN, ONES, Array, execute, f32, same, simulate, u32
from ptxsim import Sim


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


# matrix products

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
