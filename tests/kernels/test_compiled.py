"""Rungs b and c of the kernels' evidence: they compile for GPUs that are not there, and their machine code,
executed by the simulator, equals the reference. No GPU is needed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from decoding_problems import problem
from equivalence import (
    EPS,
    EXPONENTIAL_ERROR,
    check_equal_keys,
    check_exponentials,
    check_free_run,
    check_normals,
    check_products_of_bits,
    check_resumed_bits,
    check_step,
    check_ties,
    check_uniforms,
    compiled_roundings,
)
from ttc_fast import (
    BernoulliSampling,
    ElementwiseNoise,
    GaussianNoise,
    LargestCoefficients,
    PowerLawDecay,
    RankOneNoise,
    SubsetSampling,
)
from ttc_fast.decoding import reference
from ttc_fast.decoding.rules import Rule

pytest.importorskip("triton", reason="Triton is not installed")

from triton.compiler import make_backend
from triton.runtime.jit import create_function_from_signature
from ttc_fast.kernels import compiled, decode, padded, sass, tiles
from ttc_fast.kernels.tiles import Tile

from gpusim import Gpu
from ptxsim import SimError

GAUSSIAN = GaussianNoise(PowerLawDecay(0.5, 0.7))
SIGMOID = BernoulliSampling("sigmoid", 0.2)
RULES: dict[str, Rule] = {
    "gaussian": GAUSSIAN,
    "bernoulli": SIGMOID,
    "clip": BernoulliSampling("clip"),
    "threshold": BernoulliSampling("sigmoid", 0.0),
    "last_step": BernoulliSampling("sigmoid", 0.2, "last_step"),
    "rank_one": RankOneNoise(PowerLawDecay(0.1, 0.7)),
    "elementwise": ElementwiseNoise(PowerLawDecay(0.3, 0.7)),
    "subset": SubsetSampling(5),
}
"""A rule for each key of compiled.CONSTANTS."""
ARCHS = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120", "gfx942", "gfx950"]
DIMS = [16, 32, 64, 128, 256]

slow = pytest.mark.slow


def check(gpu: Gpu, rule: Rule, dim: int, samples: int = 35) -> None:
    """Teacher-forced steps and a free run over two hot and two listed blocks; no race, no conflict."""
    errors: dict[str, Any] = {"roundings": compiled_roundings(dim), "log_error": EXPONENTIAL_ERROR}
    check_step(gpu, rule, dim, samples=19, **errors)
    check_free_run(gpu, rule, dim, samples, 9, **errors)
    state, w0 = problem(2, dim)
    arguments: dict[str, Any] = {"rule": rule, "steps": [3, 14], "samples": 3, "seed": 2**64 - 1, "first_step": 2}
    got, expected = gpu(state, w0, **arguments), reference.decode(state, w0, **arguments)
    torch.testing.assert_close(got, expected, rtol=0, atol=0 if rule.binary else 1e-4)
    assert gpu.races == gpu.conflicts == 0


@pytest.mark.parametrize(
    ("arch", "rule", "dim"),
    [
        pytest.param("sm_80", rule, 31, marks=() if rule in ("gaussian", "bernoulli", "subset") else slow)
        for rule in RULES
    ]
    + [pytest.param("sm_80", "gaussian", 1, marks=slow)]
    + [pytest.param("sm_80", rule, dim, marks=slow) for rule in ("gaussian", "bernoulli") for dim in (16, 64, 128, 256)]
    + [pytest.param("sm_90", rule, 65, marks=slow) for rule in ("gaussian", "last_step", "rank_one", "subset")]
    + [pytest.param("sm_80", rule, dim, marks=slow) for rule in ("rank_one", "subset") for dim in (16, 256)]
    + [pytest.param(arch, "gaussian", 64, marks=slow) for arch in ("sm_90", "sm_100", "sm_120")]
    + [pytest.param("sm_90", rule, 13, marks=() if rule == "gaussian" else slow) for rule in ("gaussian", "bernoulli")]
    + [pytest.param("sm_90", rule, dim, marks=slow) for rule, dim in (("elementwise", 31), ("rank_one", 31))]
    + [pytest.param("sm_90", "subset", 64, marks=slow)],
)
def test_machine_code_equals_the_reference(arch: str, rule: str, dim: int) -> None:
    check(Gpu(arch), RULES[rule], dim)


@slow
@pytest.mark.parametrize("rule", [SubsetSampling(21), LargestCoefficients(3), LargestCoefficients(21)])
def test_subsets_by_search_and_without_noise(rule: Rule) -> None:
    check(Gpu("sm_90"), rule, 33, samples=19)


@slow
@pytest.mark.parametrize("ones", [5, 12, 21])
def test_equal_keys(ones: int) -> None:
    check_equal_keys(Gpu("sm_90"), ones, 24)


@slow
@pytest.mark.parametrize("rule", ["gaussian", "bernoulli", "rank_one", "elementwise", "subset"])
def test_where_the_matrix_does_not_fit(rule: str) -> None:
    assert tiles.tile(70, "sm_86", compiled.SHARED_MEMORY["sm_86"], "fp32").streamed
    check(Gpu("sm_86"), RULES[rule], 70, samples=3)


def run(gpu: Gpu, rule: Rule, dim: int, **given: Any) -> Tensor:
    state, w0 = problem(2, dim)
    arguments = {"rule": rule, "steps": [1, 6, 13], "samples": 21, "seed": 7, **given}
    return gpu(state, w0, **arguments)


@slow
@pytest.mark.parametrize(
    ("rule", "dim"),
    [("gaussian", 9), ("bernoulli", 9), ("bernoulli", 64), ("gaussian", 31), ("gaussian", 64), ("gaussian", 128),
     ("rank_one", 9), ("rank_one", 64), ("rank_one", 128), ("elementwise", 31), ("subset", 9), ("subset", 64)],
)  # fmt: skip
def test_bits_depend_neither_on_the_architecture_nor_on_the_tile(rule: str, dim: int) -> None:
    """Of one kernel: the streamed one adds up its products in another order. The simulator rounds a tensor core's sum
    of 16 products once, in mma.sync as in wgmma; the hardware's own sums are not specified and may differ between the
    two, and between generations. Of rank-one noise at 64, a warp that owns whole rows adds up the inner product's last
    four parts in another order than four warps do."""
    tile = tiles.tile(dim, "sm_80", compiled.SHARED_MEMORY["sm_80"], "fp32")
    bits = run(Gpu("sm_80"), RULES[rule], dim)
    assert not bits.isnan().any()
    others = [Gpu("sm_120" if dim < 65 else "sm_100"), Gpu("sm_80", tile=Tile(16, tile.warps // 2))]
    if (rule, dim) != ("rank_one", 64):
        others.append(Gpu("sm_90"))
    for other in others:
        assert torch.equal(run(other, RULES[rule], dim), bits), other


def test_uniforms_are_equal_to_the_bit() -> None:
    check_uniforms(Gpu("sm_80"), samples=100)


@pytest.mark.parametrize(
    "rule",
    ["gaussian", *(pytest.param(rule, marks=slow) for rule in ("bernoulli", "last_step", "rank_one", "subset"))],
)
def test_bits_do_not_depend_on_the_chunk_or_the_other_steps(rule: str) -> None:
    state, w0 = problem(3, 5)
    gpu = Gpu("sm_90")
    arguments: dict[str, Any] = {"rule": RULES[rule], "seed": 3}
    whole = gpu(state, w0, steps=range(14), samples=35, **arguments)
    part = gpu(state[1:], w0[1:], steps=[12, 13, 2], samples=3, first_sample=32, first_prompt=1, **arguments)
    assert torch.equal(part, whole[[12, 13, 2], 1:, 32:])


@slow
def test_exponentials_of_the_same_words() -> None:
    check_exponentials(Gpu("sm_80"), samples=100)


@slow
@pytest.mark.parametrize("rule", ["gaussian", "bernoulli", "rank_one", "subset"])
def test_results_stand_errors_of_the_special_functions(rule: str) -> None:
    """Results of .approx instructions moved by the largest error that is documented."""
    for seed in (1, 2):
        check_free_run(
            Gpu("sm_90", worst=True, seed=seed), RULES[rule], 16, 35, 9, compiled_roundings(16), EXPONENTIAL_ERROR
        )


@pytest.mark.parametrize("dim", [20, pytest.param(5, marks=slow), pytest.param(64, marks=slow)])
def test_products_of_bits(dim: int) -> None:
    check_products_of_bits(Gpu("sm_80"), dim)
    check_resumed_bits(Gpu("sm_80"), dim)


def test_normals_are_as_exact_as_the_special_functions_allow() -> None:
    check_normals(Gpu("sm_90", worst=True))


def test_ties() -> None:
    check_ties(Gpu("sm_90"))


def test_thoughts_beyond_two_billion_coefficients() -> None:
    """The asked steps lie 2^31 coefficients and more apart."""
    near, far = (run(Gpu("sm_90", far=far), SIGMOID, 9) for far in (False, True))
    assert torch.equal(near, far)


@pytest.mark.parametrize(
    ("precision", "error"),
    [("fp32", 2.0**-22), *(pytest.param(*case, marks=slow) for case in (("ieee", 36 * EPS), ("tf32", 2.0**-10)))],
)
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("arch", ["sm_80", pytest.param("sm_90", marks=slow)])
def test_error_of_a_step(arch: str, precision: str, error: float, binary: bool) -> None:
    """Relative to |w| + |P S| |w| + |P b|, against float64, from thoughts that are no tf32 numbers:
    tf32 is caught if it is used where it is not asked for, and used where it is. "ieee" rounds d + 3 times."""
    dim = 33
    state, _ = problem(2, dim)
    w = torch.rand(2, 16, dim, generator=torch.Generator().manual_seed(1)).mul(2).sub(1)
    if binary:
        w = (w > 0).float()
    u = w.double() + w.double() @ state[:, :, :-1].double().mT - state[:, None, :, -1].double()
    scale = w.abs() + w.abs() @ state[:, :, :-1].abs().mT + state[:, None, :, -1].abs()
    got = Gpu(arch, precision=precision)(state, w, rule=GaussianNoise(0.0), steps=[1], samples=16, seed=0)[0]
    worst = ((got - u).abs() / scale).max().item()
    assert worst < error
    if precision == "tf32":
        assert worst > 2.0**-16


@slow
@pytest.mark.parametrize(("arch", "dim"), [("sm_80", 20), ("sm_100", 64)])
def test_no_barrier_can_be_spared(arch: str, dim: int) -> None:
    """Each barrier deleted in turn leaves a race that the simulator reports: in a chain in which all four stores of a
    block are made, or in one that is resumed inside a block."""
    texts: list[str] = []

    def races(edit: Callable[[str], str]) -> int:
        gpu = Gpu(arch, edit=edit)
        gpu.every_store(GAUSSIAN, dim)
        return gpu.races

    assert races(lambda ptx: texts.append(ptx) or ptx) == 0  # type: ignore[func-returns-value]  # keeps a copy
    barriers = texts[0].count("bar.sync")
    assert barriers >= 8
    for k in range(barriers):
        assert races(lambda ptx, k=k: without(ptx, k)), f"barrier {k} of {barriers}"  # type: ignore[misc]  # k as now


def test_thoughts_are_exchanged_behind_barriers() -> None:
    """The streamed kernel's threads read each other's thoughts from global memory. Which barriers guard them
    is up to the compiler, which adds its own to those of the source: without any there are races."""
    state, w0 = problem(1, 70)
    for edit, races in ((str, False), (lambda ptx: ptx.replace("bar.sync", "// bar.sync"), True)):
        gpu = Gpu("sm_86", edit=edit)
        gpu(state, w0, rule=GAUSSIAN, steps=[5], samples=3, seed=7)
        assert bool(gpu.global_races) == races


def without(ptx: str, k: int) -> str:
    """The kernel without its barrier number ``k``."""
    parts = ptx.split("bar.sync")
    return "bar.sync".join(parts[: k + 1]) + "// bar.sync" + "bar.sync".join(parts[k + 1 :])


@pytest.mark.parametrize("name", ["state", "w0", "noise", "stops", "thoughts"])
def test_short_buffers_are_caught(name: str) -> None:
    def shorten(arguments: dict[str, Any]) -> None:
        arguments[name] = np.ascontiguousarray(arguments[name].ravel()[:-1])

    with pytest.raises(SimError, match="out of bounds"):
        run(Gpu("sm_80", spoil=shorten), GAUSSIAN, 16, steps=[16])


def test_short_workspace_is_caught() -> None:
    def shorten(arguments: dict[str, Any]) -> None:
        arguments["work"] = arguments["work"][:-1].copy()

    with pytest.raises(SimError, match="out of bounds"):
        run(Gpu("sm_86", spoil=shorten), GAUSSIAN, 70, steps=[1])


@slow
@pytest.mark.parametrize(
    ("arch", "rule"),
    [(arch, rule) for arch in ARCHS for rule in ("gaussian", "bernoulli", "rank_one", "subset")]
    + [(arch, rule) for arch in ("sm_90", "sm_100") for rule in ("clip", "threshold", "last_step", "elementwise")],
)
def test_shipped_table(arch: str, rule: str) -> None:
    """Every entry compiles, fits into shared memory and multiplies on tensor cores. Nothing is spilled in the loop of
    the steps; a block with asked thoughts stores and loads at most ten numbers; the rest waits on the stack, at most
    320 bytes, while a resumed chain ends its first block. More where a warp owns whole rows."""
    for dim in [*DIMS, 12, 20, 50, 100] if arch == "sm_90" else DIMS:
        code = compiled.compile_decode(arch, rule, dim)
        assert code.shared_bytes <= compiled.SHARED_MEMORY[arch]
        if dim <= 128:
            if arch.startswith("gfx"):
                assert code.spill_bytes == code.stack_bytes == 0
                assert not re.search(r"scratch_(load|store)", code.assembly)
            else:
                assert code.stack_bytes <= 320
                loops = sass.nest_with_rounds(code.assembly, 2)[0] if rule == "subset" else sass.nest(code.assembly)
                listed, hot = (sum(opcode.startswith(("LDL", "STL")) for opcode in body) for body in loops[-2:])
                rows = code.samples == 64 and padded(dim) > 16
                assert listed <= (50 if rows else 10)
                assert hot <= (80 if rows else 0)
        assert re.search(r"\bHG?MMA\b|v_mfma_f32_\w*f16", code.assembly)
        tile = tiles.tile(dim, arch, compiled.SHARED_MEMORY[arch], "fp32", compiled.CONSTANTS[rule]["RULE"])
        assert (code.samples, code.warps, code.streamed) == tile[:3]


@slow
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize(("kind", "ones"), [("subset", 21), ("largest", 3), ("largest", 21)])
def test_other_subsets_do_not_spill(arch: str, kind: str, ones: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compiled.CONSTANTS, "other", {"RULE": kind, "EVERY_STEP": True, "ONES": ones})
    for dim in (32, 64, 128):
        code = compiled.compile_decode(arch, "other", dim)
        assert code.stack_bytes <= (64 if code.samples == 64 else 0)


@slow
@pytest.mark.parametrize("arch", ["sm_80"])
@pytest.mark.parametrize("precision", ["tf32", "ieee"])
def test_other_precisions_compile(arch: str, precision: str) -> None:
    for rule in ("gaussian", "bernoulli"):
        for dim in (16, 64, 128):
            code = compiled.compile_decode(arch, rule, dim, precision)
            assert code.shared_bytes <= compiled.SHARED_MEMORY[arch]
            assert bool(re.search(r"\bHMMA\b", code.assembly)) == (precision == "tf32")


@slow
def test_compiling_twice_gives_the_same_machine_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = []
    for i in range(2):
        monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / str(i)))
        texts.append(compiled.compile_decode("sm_90", "clip", 16).ptx)
    assert texts[0] == texts[1]


@pytest.mark.parametrize(("dim", "samples", "offset"), [(20, 35, 0), (16, 1, 2**31), (200, 16, 2**31)])
def test_what_is_examined_is_what_runs(dim: int, samples: int, offset: int) -> None:
    """Triton specialises a launch by its arguments: the types it derives are those compiled here, and no
    value (1, multiples of 16, beyond 2^31) or alignment makes another kernel of it."""
    state, w0 = problem(2, dim)
    launch = decode.prepare(
        state, w0, torch.zeros(1, 2, samples, dim), rule=GAUSSIAN.encode(5), steps=[5], seed=offset << 32,
        first_sample=offset, first_prompt=offset, first_step=0, precision="fp32", target="cuda",
        tile=tiles.tile(dim, "sm_90", 2**20, "fp32"),
    )  # fmt: skip
    kernel = launch.kernel
    bind = create_function_from_signature(kernel.signature, kernel.params, make_backend(compiled.gpu("sm_90")))
    types = bind(*launch.arguments.values(), **launch.constants, **launch.options)[1]
    assert [kind for kind, _ in types] == [compiled.argument_type(p) for p in kernel.params]
    assert not any(attribute for kind, attribute in types if kind != "constexpr")


def test_unknown_architecture() -> None:
    with pytest.raises(ValueError, match=r"arch: expected one of sm_80, .*, got 'sm_70'"):
        compiled.compile_decode("sm_70", "gaussian", 16)
