"""Predictions that ``bench/gpu.py`` holds its measurements against, registered for each Triton: another compiler
makes other machine code."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

from . import roofline
from .counts import RULES, inspect
from .versions import version

TEXT = {
    "status": "predictions from compiled code, made before a GPU had run it",
    "rate": "coefficient-steps per second of one launch of many steps whose thoughts fill the GPU (2^26 coefficients)",
    "bound": "issue slots, pipes and tensor cores perfectly busy at the highest clock, for a wide multiplication "
    "of 32 lanes a clock; bound_low and bound_high are for 16 and 64 lanes",
    "expected": "0.4 to 0.9 of the bound; for the lower end of kernels with mma.sync the tensor cores have only the "
    "share of their peak that it is known or assumed to reach (1 on A100, 0.6 on H100 and H200, 0.25 on B200). Why: on "
    "an H20 Triton's Philox with a store was timed at 597 of 898 G words a second that this model allows, 66 % "
    "(FlagGems, pull request 5646), and normals at 239 (pull request 6527) to 358 of 354. Our loop has 24 warps or "
    "fewer on an SM, and on most tiles barriers, which can push it lower; a clock below the highest one, too",
    "eager": "the eager loop with the fewest passes over memory, at the full bandwidth of the datasheet, its matrix "
    "product in float32 (PyTorch's default, no TF32) at the full rate of multiply-adds; eager_memory: without that",
    "falsified_by": [
        "a run faster than bound_high: a rate of the table, or the count of instructions, is wrong",
        "a run slower than expected[0]: latency or barriers, which the model leaves out, decide",
        "an eager loop faster than eager on thoughts that do not fit into L2: the bytes of its operations are wrong",
        "a speed-up over eager below expected[0] / eager",
    ],
}


def predictions() -> list[dict[str, Any]]:
    """Every GPU of ``roofline.GPUS``, the default table, by the machine code of this Triton."""
    rows = []
    for arch, rule, dim in product(dict.fromkeys(gpu.arch for gpu in roofline.GPUS), RULES[:2], (16, 32, 64, 128)):
        facts = inspect(arch, rule, dim)
        for gpu, on in facts["gpus"].items():
            keys = ("bound", "bound_low", "bound_high", "expected", "eager_memory", "eager")
            rates = {key: _rounded(on[key]) for key in keys}
            rows.append({"gpu": gpu, "rule": rule, "dim": dim, "resource": on["resource"], **rates})
    return rows


def _rounded(value: Any) -> Any:
    """Three digits: what the file shows is what is predicted."""
    return [_rounded(v) for v in value] if isinstance(value, list) else int(float(f"{value:.3g}"))


def registered(file: Path) -> dict[str, list[dict[str, Any]]]:
    """The predictions of a file by the version of Triton."""
    by_version: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())["triton"]
    return by_version


def register(file: Path) -> None:
    """Write the predictions of this Triton into a file, beside those of other versions; a line for each."""
    known = registered(file) if file.exists() else {}
    known[version()] = predictions()
    versions = [
        f'  "{name}": [\n' + ",\n".join(f"   {json.dumps(row)}" for row in known[name]) + "\n  ]"
        for name in sorted(known)
    ]
    head = json.dumps(TEXT, indent=1).removesuffix("\n}")
    file.write_text(head + ',\n "triton": {\n' + ",\n".join(versions) + "\n }\n}\n")
