"""How decodes are cut into programs: the table of tiles."""

from __future__ import annotations

from typing import NamedTuple

import torch

from . import padded


class Tile(NamedTuple):
    """How the decodes of padded dimension D are cut into programs."""

    samples: int
    """BN, the samples of one program."""
    warps: int
    streamed: bool = False
    """Whether the matrix passes by in slices at every step instead of staying on chip."""
    registers: int | None = None
    """What a thread may use on NVIDIA's, which decides how many warps an SM holds. None leaves it to ptxas, which takes
    more than the hot loop needs, or too few, and spills."""


TILES = {
    16: Tile(32, 2, registers=128),
    32: Tile(16, 2, registers=128),
    64: Tile(16, 4, registers=168),
    128: Tile(16, 8),
}
"""Tile of every padded dimension whose matrix fits on chip, where WHOLE_ROWS has none: eight coefficients to a thread,
so that four steps of noise, thoughts and a thread's share of the matrix are registers. Chosen by ``inspect.py``;
never by timing, which would let the bits of a result change from run to run."""

STREAMED = Tile(32, 8, streamed=True)
"""Tile of the other dimensions, and of 128 on a GPU with less shared memory than RESIDENT_128 and without tensor cores,
whose operands would take all registers. A program on AMD's takes 16 samples: 32 spill."""
RESIDENT_128 = 116 * 1024
"""Bytes of shared memory a program needs to keep a matrix of 128 x 128 on chip."""


EXCHANGING = ("rank_one", "subset", "largest")
"""Kinds whose coefficients of a thought depend on each other."""
REGISTERS = {
    **{(16, kind): 96 for kind in ("gaussian", "elementwise")},
    **{(dim, kind): limit for dim, limit in ((16, None), (32, 192), (64, 192)) for kind in EXCHANGING},
}
"""Registers of kinds that need fewer than the others at a padded dimension, or more."""
BITS = ("sigmoid", "clip", "threshold")
"""Kinds whose coefficients are bits that do not depend on each other."""
WHOLE_ROWS = {
    **{(16, kind): 80 for kind in ("gaussian", "elementwise", *EXCHANGING)},
    **{(16, kind): 96 for kind in BITS},
    **{(32, kind): 128 for kind in ("gaussian", "elementwise")},
    **{(32, kind): 168 for kind in EXCHANGING},
    **{(64, kind): None for kind in EXCHANGING},
}
"""Registers of the decodes, by padded dimension and kind, that sm_90 cuts into 64 samples on 4 warps: a warp owns whole
rows, no thought passes through shared memory, and Triton uses wgmma. The others would lose warps, or spill."""


def tile(dim: int, arch: str, shared_memory: int, precision: str, kind: str = "gaussian") -> Tile:
    """The tile for ``dim`` coefficients.

    Args:
        dim: d.
        arch: of a GPU, such as ``"sm_90"``.
        shared_memory: of it, per program, in bytes.
        precision: of the matrix product.
        kind: of the rule.
    """
    if arch == "sm_90" and precision == "fp32" and (padded(dim), kind) in WHOLE_ROWS:
        return Tile(64, 4, registers=WHOLE_ROWS[padded(dim), kind])
    if padded(dim) == 256 or (padded(dim) == 128 and (shared_memory < RESIDENT_128 or precision == "ieee")):
        return STREAMED._replace(samples=16) if arch.startswith("gfx") else STREAMED
    chosen = TILES[padded(dim)]
    return chosen._replace(registers=REGISTERS.get((padded(dim), kind), chosen.registers))


def tile_here(dim: int, device: torch.device, precision: str, kind: str) -> Tile:
    """The tile for ``dim`` coefficients on a device; see :func:`tile`.

    Args:
        dim, precision, kind: as there.
        device: a GPU; the CPU is that of the interpreter.
    """
    if device.type == "cpu":  # the interpreter: its time is by the operation, whatever the size
        return tile(dim, "", RESIDENT_128, precision)._replace(samples=64)
    properties = torch.cuda.get_device_properties(device)
    arch = f"sm_{properties.major}{properties.minor}"
    shared_memory = getattr(properties, "shared_memory_per_block_optin", properties.shared_memory_per_block)
    if torch.version.hip:  # the resident tile of d = 128 spills there
        arch, shared_memory = properties.gcnArchName, min(shared_memory, RESIDENT_128 - 1)
    return tile(dim, arch, shared_memory, precision, kind)
