"""Where float64 is: Apple's GPUs have none, and Intel's not all."""

from __future__ import annotations

import torch
from torch import Tensor

CPU = torch.device("cpu")


def home(device: torch.device) -> torch.device:
    """Where numbers of float64 go that belong to some on a device.

    Args:
        device: of these; the same, if it computes in float64, else the CPU.
    """
    return device if device.type in ("cpu", "cuda") else CPU


def wide(x: Tensor) -> Tensor:
    """Numbers in float64, on the CPU if there is none where they are.

    Args:
        x: any numbers.
    """
    return x.to(home(x.device)).double()  # moved first
