"""The Triton kernels on a GPU, against predictions made before there was one: ``python -m bench.gpu``.

First the kernels are held against the float64 reference (bench.equivalence); if they differ, nothing is
timed. Then every output is checked against the exact law (peers.check), and kernel and peers run in turn,
each for a tenth of a second a turn, timed by CUDA events (JAX, which has its own streams, by the clock);
the ratio is that of the medians over the turns. Compilation and warm-up are not part of it. The figures
are printed beside those of ``bench/predictions.json``, which were computed from compiled code by
``python -m ttc_fast.kernels.inspect --predict bench/predictions.json`` with the Triton that runs, before any timing.

Predictions are judged at 2^26 coefficients, which do not fit into a cache, and 256 steps, so that
neither launches nor the blocks whose thoughts are written matter.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor
from ttc_fast.kernels import interpreted
from ttc_fast.kernels.predict import registered
from ttc_fast.kernels.versions import version

from bench import profile
from bench.equivalence import compare_all
from bench.peers import TEMPERATURE, Job, chain, check, compiled, compiled_step, eager_gram, jax_chain, ours, seeded

PREDICTIONS = Path(__file__).parent / "predictions.json"
KERNEL = "kernel"
RULES = {"continuous": "gaussian", "binary": "bernoulli"}
SIZES = (20, 23, 26)
DIMS = (16, 32, 64, 128)
TURN = 0.1

Run = Callable[[int], Any]
Rows = list[dict[str, Any]]


def refusal() -> str:
    """Why this machine cannot time the kernels; empty if it can."""
    if interpreted():
        return "TRITON_INTERPRET is set: the interpreter's time says nothing of a GPU; unset it"
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed: pip install triton"
    if not torch.cuda.is_available():
        return "PyTorch sees no GPU: run it where there is one, with a CUDA build of PyTorch"
    return ""


def kernel(job: Job) -> Run:
    """``ttc_fast.decode`` as a user calls it."""
    return lambda seed: ours(job, seed, "triton" if job.device == "cuda" else "native")


def eager_fewest(job: Job) -> Run:
    """PyTorch eager with the fewest passes over memory: ``roofline.EAGER``."""
    if job.kind == "continuous":
        return eager_gram(job)
    matrix, offset = job.affine
    matrix, offset = matrix / TEMPERATURE, (offset - 0.5) / TEMPERATURE
    return seeded(chain(job, lambda w: torch.bernoulli(torch.addmm(offset, w, matrix).sigmoid_())))


def cuda_graph(job: Job) -> Run:
    """torch.compile of the step, and all steps captured in one CUDA graph.

    What mode="reduce-overhead" does for a step, without its copies between the steps.
    """
    run = chain(job, compiled_step(job))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run()  # compiles; memory must not be set up while capturing
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        thoughts = run()

    def replay() -> Tensor:
        graph.replay()
        return thoughts

    return seeded(replay)


def jax_gpu(job: Job) -> Run:
    """JAX: jit of lax.scan; fails if JAX has no GPU."""
    import jax

    if job.device == "cuda" and jax.default_backend() != "gpu":
        raise RuntimeError("JAX sees no GPU: pip install 'jax[cuda12]'")
    run = jax_chain(job)
    return lambda seed: run(seed).block_until_ready()


PEERS: dict[str, Callable[[Job], Run]] = {
    "eager, Gram": eager_gram,
    "eager, fewest passes": eager_fewest,
    "torch.compile": compiled,
    "torch.compile, CUDA graph": cuda_graph,
    "JAX": jax_gpu,
}


def seconds(job: Job, name: str, run: Run, seed: int, calls: int) -> float:
    """Of one call, averaged."""
    if job.device != "cuda" or name == "JAX":
        began = time.perf_counter()
        for i in range(calls):
            run(seed + i)
        return (time.perf_counter() - began) / calls
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for i in range(calls):
        run(seed + i)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / 1e3 / calls


def checked(job: Job, make: Callable[[Job], Run]) -> Run:
    """A peer that is ready and whose output has the law of the job."""
    import numpy as np

    run = make(job)
    for seed in (1, 2):
        out = run(seed)
    check(job, out if isinstance(out, Tensor) else torch.from_numpy(np.asarray(out).copy()))
    return run


def measure(job: Job, turns: int, names: tuple[str, ...] = tuple(PEERS)) -> dict[str, Any]:
    """Median coefficient-steps per second of the kernel and of every peer that runs here."""
    runs, missing = {KERNEL: checked(job, kernel)}, {}
    for name in names:
        try:
            runs[name] = checked(job, PEERS[name])
        except (RuntimeError, ImportError) as error:  # of a peer, whatever it is: ours are timed all the same
            missing[name] = str(error).splitlines()[0]
    calls = {name: min(1000, math.ceil(TURN / seconds(job, name, run, 0, 1))) for name, run in runs.items()}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(turns):
        for name, run in runs.items():
            taken[name].append(seconds(job, name, run, 1000 * i, calls[name]))
    rates = {name: job.work / statistics.median(times) for name, times in taken.items()}
    spread = {name: (max(times) - min(times)) / statistics.median(times) for name, times in taken.items()}
    return {
        "kind": job.kind, "dim": job.dim, "samples": job.samples, "steps": job.steps,
        "coefficient_steps_per_second": rates, "spread": spread, "missing": missing,
    }  # fmt: skip


def prediction(gpu: str, sms: int, kind: str, dim: int, rows: Rows) -> dict[str, Any] | None:
    """What was predicted for the GPU of this name, if it has the multiprocessors that were counted with."""
    from ttc_fast.kernels.roofline import GPUS

    known = next((g.name for g in GPUS if g.name in gpu and g.sms == sms), "")
    wanted = (known, RULES[kind], dim)
    return next((row for row in rows if (row["gpu"], row["rule"], row["dim"]) == wanted), None)


def verdicts(rates: dict[str, float], predicted: dict[str, Any]) -> dict[str, str]:
    """For each prediction ``"held"``, or how it failed."""
    rate, eager = rates[KERNEL], max((r for name, r in rates.items() if name.startswith("eager")), default=math.nan)
    low, high = predicted["expected"]
    found = {
        "bound": "held" if rate <= predicted["bound_high"] else "FALSIFIED: faster than the bound",
        "expected": "held" if low <= rate <= high else "below" if rate < low else "above",
    }
    if not math.isnan(eager):
        found["eager"] = "held" if eager <= predicted["eager"] else "FALSIFIED: faster than its bound"
        found["speed-up"] = "held" if rate / eager >= low / predicted["eager"] else "below"
    return found


def table(results: list[dict[str, Any]], gpu: str) -> Table:
    """Measured and predicted, G coefficient-steps per second."""
    out = Table(title=f"{gpu}: G coefficient-steps per second", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("coefficients", "d", "N d", KERNEL, "expected", "bound", *PEERS, "predictions"):
        out.add_column(name, justify="left" if name in ("coefficients", "predictions") else "right")
    for r in results:
        rates, expected = r["coefficient_steps_per_second"], r["prediction"]
        shown = {name: f"{rate / 1e9:,.1f}" for name, rate in rates.items()}
        between = " to ".join(f"{e / 1e9:,.0f}" for e in expected["expected"]) if expected else ""
        bound = f"{expected['bound'] / 1e9:,.0f}" if expected else ""
        judged = ", ".join(f"{name}: {verdict}" for name, verdict in r["verdicts"].items())
        row = [r["kind"], str(r["dim"]), f"2^{math.log2(r['samples'] * r['dim']):.0f}", shown[KERNEL], between, bound]
        out.add_row(*row, *(shown.get(name, "") for name in PEERS), judged)
    return out


def judged(job: Job, turns: int, stored: Rows) -> dict[str, Any]:
    """A measurement with its prediction; only thoughts that fit into no cache, many steps, are judged."""
    properties = torch.cuda.get_device_properties(0)
    found = measure(job, turns)
    predicted = prediction(properties.name, properties.multi_processor_count, job.kind, job.dim, stored)
    large = job.samples * job.dim >= 2**26 and job.steps >= 256
    rates = found["coefficient_steps_per_second"]
    return {**found, "prediction": predicted, "verdicts": verdicts(rates, predicted) if predicted and large else {}}


def machine() -> dict[str, Any]:
    import triton

    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name, "sms": properties.multi_processor_count, "bytes": properties.total_memory,
        "torch": torch.__version__, "triton": triton.__version__, "date": date.today().isoformat(),
    }  # fmt: skip


def profiled(options: argparse.Namespace, stored: Rows) -> int:
    """The stages of the default run, and the decode's rate beside those of the peers; the exit code."""
    about, results = machine(), []
    for kind in RULES:
        predicted = prediction(about["gpu"], about["sms"], kind, profile.DIM, stored)
        try:
            found = profile.profile(kind, turns=options.turns, bound=predicted["bound"] if predicted else None)
        except ValueError as error:
            print(f"bench.gpu: nothing is reported, the figures are wrong: {error}", file=sys.stderr)
            return 1
        job = Job(kind, profile.DIM, found["samples"] * found["prompts"], max(found["steps"]), "cuda")
        results.append(found | {"peers": measure(job, options.turns)["coefficient_steps_per_second"]})
        print(profile.shown(results[-1]))
        rates = results[-1]["peers"].items()
        print(
            "  decode alone, last thoughts only: " + ", ".join(f"{name} {rate / 1e9:.1f} G/s" for name, rate in rates)
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": about, "profile": results}, indent=1) + "\n")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code: 2 if it cannot run here, 1 if the kernels are wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--dims", type=int, nargs="+", default=DIMS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="log2 of the number of coefficients N d")
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--profile", action="store_true", help="the default run's stages instead (bench.profile)")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    options = parser.parse_args(arguments)
    if reason := refusal():
        print(f"bench.gpu: {reason}", file=sys.stderr)
        return 2
    try:
        cases = compare_all("triton", "cuda")
    except ValueError as error:
        print(f"bench.gpu: nothing is timed, the kernels are wrong: {error}", file=sys.stderr)
        return 1
    worst, tie = max(c.error for c in cases), max(c.margin for c in cases)
    flips = sum(c.flips for c in cases)
    print(f"equal to the reference in {len(cases)} cases: errors to {worst:.1e}, {flips} near ties to {tie:.1e}")
    stored = registered(PREDICTIONS).get(version(), [])
    if not stored:
        print(f"no predictions are registered for Triton {version()}: inspect --predict would, before the run")
    if options.profile:
        return profiled(options, stored)
    results = []
    for size in options.sizes:
        for kind in RULES:
            for dim in options.dims:
                results.append(judged(Job(kind, dim, 2**size // dim, options.steps, "cuda"), options.turns, stored))
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
                torch.cuda.empty_cache()
    about = machine()
    Console(width=None if sys.stdout.isatty() else 160).print(table(results, about["gpu"]))
    if options.json:
        text = {"machine": about, "equivalence": [c._asdict() for c in cases], "results": results}
        options.json.write_text(json.dumps(text, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
