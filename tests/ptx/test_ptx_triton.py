"""Kernels that Triton compiled, executed by the simulator."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ptxbody import NAN, Array, same
from ptxsim import Sim, SimError, launch
from ttc_fast.numerics import rng

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
        options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True}
        return compile(source, target=GPUTarget("cuda", capability, 32), options=options)

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
