"""Decodes of sm_90 in which a warp owns whole rows of thoughts: the orders that its products (wgmma) need, in PTX and
in machine code, and which GPU gets them."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from ttc_fast import GaussianNoise, PowerLawDecay

pytest.importorskip("triton", reason="Triton is not installed")

from ttc_fast.kernels import compiled, tiles

from gpusim import Gpu
from ptxsim import SimError

GAUSSIAN = GaussianNoise(PowerLawDecay(0.5, 0.7))
slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("capability", "hip", "precision", "samples"),
    [((9, 0), None, "fp32", 64), ((8, 9), None, "fp32", 32), ((10, 0), None, "fp32", 32), ((9, 0), None, "tf32", 32),
     ((9, 0), None, "ieee", 32), ((9, 0), "6.4", "fp32", 32)],
)  # fmt: skip
def test_which_gpu_has_them(
    capability: tuple[int, int], hip: str | None, precision: str, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the capability and the precision decide. An MI250 calls its capability 9.0, too."""
    major, minor = capability
    there = SimpleNamespace(
        major=major,
        minor=minor,
        shared_memory_per_block=49152,
        shared_memory_per_block_optin=232448,
        gcnArchName="gfx90a",
    )
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: there)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert tiles.tile_here(13, torch.device("cuda", 0), precision, "gaussian").samples == samples


@slow
def test_no_order_of_products_can_be_spared() -> None:
    """Deleted in turn: the barriers (but that of the hot loop, as block 0, which has its own, comes first), the fence
    of the matrix in shared memory; and of a step's six products, which keep their order, the fence
    before the first, the wait for the last, and its commit."""
    texts: list[str] = []

    def seen(edit: Callable[[str], str]) -> int:
        gpu = Gpu("sm_90", edit=edit)
        gpu.every_store(GAUSSIAN, 13)
        return gpu.races + gpu.unfenced

    assert seen(lambda ptx: texts.append(ptx) or ptx) == 0  # type: ignore[func-returns-value]  # keeps a copy
    needed: list[re.Match[str]] = []
    for name, some in (
        ("bar.sync", slice(None)), ("fence.proxy.async", slice(None)), ("wgmma.fence", slice(0, 12, 6)),
        ("wgmma.wait_group", slice(5, 12, 6)), ("wgmma.commit_group", slice(5, 12, 6)),
    ):  # fmt: skip
        needed += list(re.finditer(rf"^\s*{re.escape(name)}[^;]*;", texts[0], re.M))[some]
    assert len(needed) == 12 + 2 + 3 * 2
    for k, one in enumerate(needed):
        try:
            found = seen(lambda ptx, one=one: ptx[: one.start()] + ptx[one.end() :])  # type: ignore[misc]
        except SimError:  # registers of a product that is not waited for
            found = 1
        assert bool(found) == (k != 3), one


def access_of_products(assembly: str) -> list[str]:
    """Instructions between a fence of registers (WARPGROUP.ARRIVE) and a product (HGMMA) after it that write those of
    the product, but for products with the same accumulators."""
    lines = [
        found for line in assembly.splitlines() if (found := re.search(r"/\*\w{4,}\*/\s+(?:@!?U?P\w+\s+)?(\S.*)", line))
    ]
    fence, wrong = 0, []
    for i, found in enumerate(lines):
        text = found.group(1)
        if text.startswith("WARPGROUP.ARRIVE"):
            fence = i
        elif product := re.match(r"HGMMA\.64x(\d+)x\d+\S* R(\d+), (?:R(\d+)|gdesc)", text):
            width, first, a = (int(n or -9) for n in product.groups())
            registers = {*range(first, first + width // 2), *range(a, a + 4)}
            for other in (line.group(1) for line in lines[fence:i]):
                written = re.match(r"(\S+) R(\d+),", other)
                if written and int(written.group(2)) in registers and not other.startswith(f"HGMMA.64x{width}x"):
                    wrong.append(f"{other} before {text}")
    return wrong


@pytest.mark.parametrize(
    ("rule", "dim"),
    [pytest.param(rule, dim, marks=() if (rule, dim) == ("gaussian", 16) else slow)
     for rule in compiled.CONSTANTS for dim in (16, 32, 64)],
)  # fmt: skip
def test_products_do_not_overtake_their_registers(rule: str, dim: int) -> None:
    """Triton's PTX may compute an operand after the fence (ptxsim.py); ptxas must not."""
    assembly = compiled.compile_decode("sm_90", rule, dim).assembly
    whole = (dim, compiled.CONSTANTS[rule]["RULE"]) in tiles.WHOLE_ROWS
    assert ("HGMMA" in assembly) == whole
    assert not access_of_products(assembly)
    if whole:
        moved = re.sub(r"(HGMMA\S* (R\d+), )", r"MOV \2, R0 ;\n /*0000*/ \1", assembly, count=1)
        assert access_of_products(moved)
