"""Where the default run spends its time on a GPU: ``python -m bench.gpu --profile``.

The run is held against the same run on the CPU first: a figure that differs by more than rounding ends the command. The
stages are timed with the kernels compiled, waiting for the GPU after each; launches and waits are those that CUDA's
own tracer saw.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.peers import Job
from ttc_fast import LinearAttention, LinearRegression, StochasticDecoder, evaluate
from ttc_fast.evaluation.stages import decode_bank

STEPS, DIM, EXAMPLES = (1, 2, 4, 8, 16, 32), 16, 64
TOLERANCE = 1e-3
"""Of a figure, relative: a mean over samples of which a few may have drawn another bit near a tie."""

Synchronise = Callable[[], None]


def seconds(work: Callable[[], Any], synchronise: Synchronise, turns: int) -> float:
    """Median of some turns after one that warms up."""
    taken = []
    for _ in range(turns + 1):
        synchronise()
        began = time.perf_counter()
        work()
        synchronise()
        taken.append(time.perf_counter() - began)
    return float(np.median(taken[1:]))


def traced(work: Callable[[], Any]) -> dict[str, int]:
    """Launches, copies to the host and waits of one call, as CUDA's tracer counts them."""
    with torch.profiler.profile(activities=list(torch.profiler.supported_activities())) as profile:
        work()
    counts = {event.key: event.count for event in profile.key_averages()}
    named = {
        "launches": ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx"),
        "copies to the host": ("Memcpy DtoH (Device -> Pinned)", "Memcpy DtoH (Device -> Pageable)"),
        "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
    }
    return {name: sum(counts.get(key, 0) for key in keys) for name, keys in named.items()}


def profile(
    kind: str, *, device: str = "cuda", samples: int = 4096, prompts: int = 64, steps: tuple[int, ...] = STEPS,
    turns: int = 7, bound: float | None = None, synchronise: Synchronise = torch.cuda.synchronize,
    trace: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Stages, launches and rates of a run of one kind of coefficients.

    Args:
        kind: "continuous" or "binary".
        device: that is profiled.
        samples, prompts, steps: of the run.
        turns: of each timing.
        bound: coefficient-steps per second that were registered as the most for the decode.
        synchronise: waits for the device.
        trace: whether the device's tracer is there.

    Raises:
        ValueError: the figures are not those of the CPU.
    """
    model = LinearAttention.gradient_descent(DIM, examples=EXAMPLES)
    rule = Job(kind, DIM).rule
    task = LinearRegression(DIM, EXAMPLES, kind, label_noise=0.1)  # type: ignore[arg-type]  # kind is one of two
    given = task.sample(prompts)
    there = given.to(device)
    decoder = StochasticDecoder(model.to(device), rule)

    def whole() -> Any:
        return evaluate(decoder, there, steps=steps, samples=samples)

    found, wanted = whole(), evaluate(
        StochasticDecoder(LinearAttention.gradient_descent(DIM, examples=EXAMPLES), rule), given, steps=steps,
        samples=samples,
    )  # fmt: skip
    check(found.keys, found.values, wanted.keys, wanted.values)
    with torch.no_grad():
        times = {
            "prefill": seconds(lambda: decoder.model.prefill(there), synchronise, turns),
            "decode": seconds(lambda: decode_bank(decoder, there, steps=steps, samples=samples), synchronise, turns),
            "whole": seconds(whole, synchronise, turns),
        }
    work = prompts * samples * DIM * max(steps)
    rates = {"decode": work / times["decode"], "whole": work / times["whole"]}
    shares = {} if bound is None else {name: rate / bound for name, rate in rates.items()}
    return {
        "kind": kind, "dim": DIM, "samples": samples, "prompts": prompts, "steps": list(steps), "seconds": times,
        "coefficient_steps_per_second": rates, "share_of_bound": shares, "traced": traced(whole) if trace else {},
    }  # fmt: skip


def check(keys: Any, values: Any, wanted_keys: Any, wanted: Any) -> None:
    """Raise if the figures of two tables differ by more than TOLERANCE of the largest of their key."""
    if keys != wanted_keys:
        raise ValueError("the table of the GPU has other keys than that of the CPU")
    difference = np.abs(values.mean(1) - wanted.mean(1)) / np.maximum(np.abs(wanted).max(1), 1e-6)
    worst = int(difference.argmax())
    if not difference[worst] <= TOLERANCE:
        raise ValueError(f"figures of {keys[worst]} differ by {difference[worst]:.1e} of themselves")


def shown(result: dict[str, Any]) -> str:
    """One line of a profile."""
    times = ", ".join(f"{name} {1e3 * value:.2f} ms" for name, value in result["seconds"].items())
    rates = ", ".join(f"{name} {rate / 1e9:.1f} G/s" for name, rate in result["coefficient_steps_per_second"].items())
    shares = ", ".join(f"{name} {share:.0%} of the bound" for name, share in result["share_of_bound"].items())
    counts = ", ".join(f"{value} {name}" for name, value in result["traced"].items())
    return "; ".join(part for part in (f"{result['kind']}: {times}", rates, shares, counts) if part)
