"""Rung e of the kernels' evidence: deliberate faults, and the rung that catches each.

A fault is an edit of the kernels' source. Rung a runs it in Triton's interpreter, rung c executes its
machine code in the simulator. Where a fault is for rung c, rung a must pass: it shows why c is needed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from decoding_problems import problem
from equivalence import (
    Decode,
    check_equal_keys,
    check_free_run,
    check_normals,
    check_products_of_bits,
    check_resumed_bits,
    check_step,
    check_ties,
    check_uniforms,
)
from evaluation_problems import assert_kernels_equal, candidates_problem, kernels
from ttc_fast import BernoulliSampling, GaussianNoise, LargestCoefficients, PowerLawDecay, RankOneNoise, SubsetSampling
from ttc_fast.decoding.rules import Rule
from ttc_fast.numerics import candidates

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed"),
]

FILES = ("subset", "draws", "product", "streamed", "chain", "decode", "candidates", "aggregate")
"""What is copied and spoilt; each imports those before it."""
DIM, ROUNDINGS = 20, 110
"""Padded to 32; roundings of a step as in the tests of the rungs, for the interpreter's sums."""


@dataclass(frozen=True)
class Fault:
    name: str
    rung: str
    old: str
    new: str
    count: int = 1
    """How often ``old`` occurs."""
    interpreted: bool = True
    """False where the interpreter, which has no bounds, would spoil its own memory, or would take minutes."""
    source: str = "chain"
    streamed: bool = False
    """Whether it is looked for where the matrix does not fit on chip."""

    @property
    def of_candidates(self) -> bool:
        return self.source in ("candidates", "aggregate")


FAULTS = [
    Fault("none", "", "", "", 0),
    Fault("none of candidates", "", "", "", 0, source="candidates"),
    Fault(
        "words swapped",
        "a",
        "_box_muller(a, b, TARGET)\n        c",
        "_box_muller(b, a, TARGET)\n        c",
        source="draws",
    ),
    Fault("words of the wrong stream", "a", "Stream.BERNOULLI) << 24", "Stream.VERIFIER) << 24", source="draws"),
    Fault("block of the counter off by one", "a", "first_block + q, prompt", "first_block + q + 1, prompt"),
    Fault("noise of the next step", "a", "noise + 4 * last + r", "noise + 4 * last + r + 1"),
    Fault("noise of the first block again", "a", "noise + 4 * q + r", "noise + r"),
    Fault("index of the program as prompt", "a", "(first_prompt + prompt)", "(first_prompt + program)"),
    Fault("state of the first prompt for all", "a", "    state += prompt * dim * (dim + 1)\n", ""),
    Fault(
        "padding of the matrix missing",
        "a",
        "(i[None, :] < dim) & (k[:, None] < dim)",
        "i[None, :] < dim",
        source="product",
    ),
    Fault("draw where uniform = p", "a", "one = draw < u * factor", "one = draw <= u * factor"),
    Fault(
        "subsets of the words of another stream",
        "a",
        "Stream.SUBSET_SAMPLING) << 24",
        "Stream.SUBSETS) << 24",
        source="draws",
    ),
    Fault("inner product with the output", "a", "_along(draw, w, i, dim)", "_along(draw, u, i, dim)"),
    Fault("padding in the inner product", "a", "tl.where(i < dim, xi * w, 0.0)", "xi * w"),
    Fault("padding chosen", "a", "_PADDING = tl.constexpr(0x7FFFFFFE)", "_PADDING = tl.constexpr(0)", source="subset"),
    Fault("a round too few", "a", "_trips(ONES, dim)", "_trips(ONES - 1, dim)", source="subset"),
    Fault(
        "smallest weights",
        "a",
        "0x7F800000 - v.to(tl.int32, bitcast=True)",
        "v.to(tl.int32, bitcast=True)",
        source="subset",
    ),
    Fault(
        "of equal keys the last", "c", "tie_break_left=True", "tie_break_left=False", interpreted=False, source="subset"
    ),
    Fault("one row too many stored", "c", "(row < rows)", "(row <= rows)", interpreted=False),
    Fault("one row too many stored, nothing padded", "c", "to(row < rows", "to(row <= rows", interpreted=False),
    Fault("words of another step of the block where a chain is resumed", "a", "r == 1, draws[1]", "r == 1, draws[0]"),
    Fault("the block where a chain is resumed once more", "a", "tl.where(begin > 0, 1, 0)", "0"),
    Fault("noise of the next step where a chain is resumed", "a", "noise + r,", "noise + r + 1,"),
    Fault("tf32 for fp32", "c", '"PRECISION": precision,', '"PRECISION": "tf32",', source="decode"),
    Fault("draw where uniform = p, sigmoid", "a", "odds, draw) < 16777216.0", "odds, draw) <= 16777216.0"),
    Fault("a slope without bound", "a", "tl.minimum(gain, 3.0e38 * tl.min(unit))", "gain"),
    Fault("noise of the first block in a row again", "a", "noise + 4 * q + r", "noise + 4 * first + r"),
    Fault("words of the first block in a row again", "a", "first_block + q, prompt", "first_block + first, prompt"),
    Fault(
        "series of Box and Muller never taken", "c", "selp.f32 x, near, far, small", "mov.f32 x, far", source="draws"
    ),
    Fault("angle of the unsigned word", "c", "cvt.rn.f32.s32 angle", "cvt.rn.f32.u32 angle", source="draws"),
    Fault("a page of 32 bits", "c", "page: tl.int64", "page: tl.int32"),
    Fault(
        "loss of the last rows alone", "a", "total += tl.sum(residual", "total = tl.sum(residual", source="candidates"
    ),
    Fault("a tie counted as a win", "a", "2 * votes == size, 0.5", "2 * votes == size, 1.0", source="candidates"),
    Fault("one order for all partitions", "a", "orders + tl.load(job + 3) * samples", "orders", source="candidates"),
    Fault("equal scores share nothing", "a", "run / (end - begin)[:, None].to(tl.float64)", "run", source="candidates"),
    Fault(
        "pairs of far samples",
        "a",
        "[T >> (level + 1), 2, C]), 1)",
        "[2, T >> (level + 1), C]), 0)",
        source="candidates",
    ),
    Fault(
        "a run of equal scores has no end",
        "a",
        "ascending, ascending, right=True",
        "ascending, ascending",
        source="aggregate",
    ),
    Fault("votes counted by two programs", "c", "place == groups - 1", "size == samples", source="candidates"),
    Fault(
        "one loss too many stored",
        "c",
        "total * factor, mask=s < samples",
        "total * factor, mask=s <= samples",
        interpreted=False,
        source="candidates",
    ),
    Fault("a product left out", "a", '    u = tl.dot(w2, m2, u, input_precision="ieee")\n', "", source="product"),
    Fault("a product of bits left out", "a", "u = tl.dot(ones, low, u", "tl.dot(ones, low, u", source="product"),
    Fault("bits in another unit", "a", "bias = bias * unit", "bias = bias * 1.0"),
    Fault("thresholds in another unit", "a", "(gain, unit, inverse, RULE)\n    el", "(gain, 1.0, 1.0, RULE)\n    el"),
    Fault("w0 taken for bits", "c", "m2, m3, u, False, PRECISION", "m2, m3, u, True, PRECISION"),
    Fault("a resumed chain of bits multiplied otherwise", "a", "tl.where(bits == 1,", "tl.where(bits == 2,"),
    Fault("one unit for all outputs", "a", "exponent = tl.max", "exponent = 140 + 0 * tl.max", source="product"),
    Fault("a unit that is divided by", "c", "16777216.0 * inverse", "16777216.0 / unit"),
    Fault("none of a streamed matrix", "", "", "", 0, streamed=True),
    Fault("draws of the first block for all", "a", "(t == begin) | (t % 4 == 0)", "t == begin", streamed=True),
    Fault("noise of the next step, streamed", "a", "noise + t,", "noise + t + 1,", streamed=True),
    Fault(
        "the last slice left out", "a", "range(0, dim, SLICE)", "range(SLICE, dim, SLICE)", 1, True, "streamed", True
    ),
    Fault("two parts of a thought the same", "a", "+ BN * D, w2)", "+ BN * D, w1)", 1, True, "streamed", True),
    Fault("a part of the matrix not taken off", "a", "m = m - part", "m = m - 0 * part", 1, True, "streamed", True),
    Fault("a matrix without its units", "a", "m *= unit[:, None]", "pass", 1, True, "streamed", True),
    Fault(
        "matrix of the first prompt for all", "a", "m = work + prompt *", "m = work + 0 *", 1, True, "streamed", True
    ),
    Fault("noise in another unit", "a", 'rule.kind == "rank_one" else', 'rule.kind == "none" else', source="decode"),
]


def sources() -> dict[str, str]:
    folder = Path(__file__).parents[2] / "kernels"
    return {file: (folder / f"{file}.py").read_text() for file in FILES}


def write(folder: Path, name: str, texts: dict[str, str]) -> Path:
    """Copies of the kernels and of their launch; returns where they are, without the end of their names."""
    for file, text in texts.items():
        for other in FILES:
            text = text.replace(f"from .{other} import", f"from .{name}_{other} import")
        (folder / f"{name}_{file}.py").write_text(text)
    return folder / name


def load(path: Path) -> tuple[ModuleType, ModuleType]:
    """The modules of :func:`write`, beside those that are installed; returns those of the launches."""
    for file in (path.with_name(f"{path.name}_{end}.py") for end in FILES):
        spec = importlib.util.spec_from_file_location(f"ttc_fast.kernels.{file.stem}", file)
        if spec is None or spec.loader is None:
            raise ImportError(file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[module.__name__] = module
        spec.loader.exec_module(module)
    return sys.modules[f"ttc_fast.kernels.{path.name}_decode"], sys.modules[f"ttc_fast.kernels.{path.name}_aggregate"]


def check(decode: Decode) -> None:
    for rule in (GaussianNoise(PowerLawDecay(0.5, 0.7)), BernoulliSampling("clip")):
        check_step(decode, rule, DIM, samples=19, roundings=ROUNDINGS)
        check_free_run(decode, rule, DIM, 70, 14, roundings=ROUNDINGS)  # two blocks in a row are not listed
    check_free_run(decode, rule, 16, 19, 9, roundings=ROUNDINGS)  # of which nothing is padded
    errors: dict[str, Any] = {"roundings": ROUNDINGS, "log_error": 2.0**-18}
    for other in (RankOneNoise(0.05), SubsetSampling(5), LargestCoefficients(12)):
        check_step(decode, other, DIM, samples=19, **errors)
        check_free_run(decode, other, DIM, 19, 9, **errors)
    check_equal_keys(decode, 5, DIM)
    check_uniforms(decode, samples=100)
    check_products_of_bits(decode, DIM)
    check_resumed_bits(decode, DIM)
    check_ties(decode)


def check_streamed(decode: Decode) -> None:
    """Five slices of the matrix, of which the last is not full; a chain that is resumed inside a block."""
    dim = 130
    state, w0 = problem(2, dim)
    for rule in (GaussianNoise(PowerLawDecay(0.5, 0.7)), BernoulliSampling("clip")):
        check_free_run(decode, rule, dim, 5, 9, roundings=6 * (dim + 1) + 8)  # as in test_interpreter.py
        arguments: dict[str, Any] = {"rule": rule, "steps": [2, 7], "samples": 3, "seed": 1}
        whole = decode(state, w0, **arguments)
        assert torch.equal(decode(state, whole[0], first_step=2, **arguments), whole)


def check_candidates(engine: Any) -> None:
    """Equal scores, partitions in several orders, more examples than a slice of rows; sums to the bit."""
    for problem_size in ((4, 9, 33), (20, 40, 6)):
        given = candidates_problem(*problem_size)
        assert_kernels_equal(kernels(*given, engine=engine), kernels(*given, engine=candidates), given[2])
    x = torch.rand(2, 70, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(engine.tree_sum(x), candidates.tree_sum(x))


def caught_by_the_interpreter(path: Path, of_candidates: bool = False, streamed: bool = False) -> str:
    launches, aggregate = load(path)
    decode = launches.decode

    def encoded(*tensors: Tensor, rule: Rule, steps: Sequence[int], **arguments: Any) -> Any:
        return decode(*tensors, rule=rule.encode(max(steps)), steps=steps, **arguments)

    try:
        if of_candidates:
            check_candidates(aggregate)
        else:
            (check_streamed if streamed else check)(encoded)
    except (AssertionError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def caught_by_the_simulator(path: Path, of_candidates: bool = False) -> str:
    from gpusim import Candidates, Gpu
    from ptxsim import SimError

    launches, aggregate = load(path)
    checks: list[Any] = [check_normals, error_of_a_step, check]
    gpu: Any = Gpu("sm_80", module=launches, far=True, worst=True)
    if of_candidates:
        checks, gpu = [check_candidates], Candidates("sm_80", module=aggregate)
    try:
        for one in checks:
            one(gpu)
    except (AssertionError, SimError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "races" if gpu.races else "conflicts" if gpu.conflicts else ""


def error_of_a_step(gpu: Decode) -> None:
    """As in test_compiled.py: that of float32, where tf32 would be 2^-12."""
    state, w = problem(2, DIM)
    u = w.double() + (state[:, :, :-1].double() @ w.double()[:, :, None])[:, :, 0] - state[:, :, -1].double()
    got = gpu(state, w, rule=GaussianNoise(0.0), steps=[1], samples=1, seed=0)[0, :, 0]
    scale = w.abs() + (state[:, :, :-1].abs() @ w.abs()[:, :, None])[:, :, 0] + state[:, :, -1].abs()
    assert ((got - u).abs() / scale).max() < 2.0**-22


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault_is_caught(fault: Fault, interpreter: ProcessPoolExecutor, tmp_path: Path) -> None:
    texts = sources()
    if fault.old:
        assert texts[fault.source].count(fault.old) == fault.count
        texts[fault.source] = texts[fault.source].replace(fault.old, fault.new)
    path = write(tmp_path, f"mutant_{FAULTS.index(fault)}", texts)
    if fault.interpreted:
        by_interpreter = interpreter.submit(
            caught_by_the_interpreter, path, fault.of_candidates, fault.streamed
        ).result()
        assert bool(by_interpreter) == (fault.rung == "a"), by_interpreter
    if fault.rung != "a" and not fault.streamed:  # test_compiled.py runs that without a fault
        by_simulator = caught_by_the_simulator(path, fault.of_candidates)
        assert bool(by_simulator) == (fault.rung == "c"), by_simulator


def test_fault_of_the_compiler_is_caught(interpreter: ProcessPoolExecutor, tmp_path: Path) -> None:
    """This one was met: a loop that carries its next block in a variable. Triton 3.7.1 drops a variable that
    is only the bound of an inner loop (in its pass tritongpu-remove-layout-conversions)."""
    loop = "        for stop in range(tl.where(begin > 0, 1, 0), stops_count):\n            # A loop"
    line = "            first = tl.load(stops + 7 * stop)\n"
    end = "                _store(thoughts, token, stops + 7 * stop, r, page, rows, dim, WHOLE)\n"
    texts = sources()
    source = texts["chain"]
    assert source.count(loop) == source.count(line) == source.count(end) == 1
    source = source.replace(loop, "        first = tl.where(begin > 0, 1, 0)\n" + loop).replace(line, "")
    texts["chain"] = source.replace(end, end + "            first = last + 1\n")
    path = write(tmp_path, "mutant_carried", texts)
    assert not interpreter.submit(caught_by_the_interpreter, path).result()
    assert caught_by_the_simulator(path)
