"""The native backend against hand-written peers, as ratios in one run: ``python -m bench.compare``.

For each number of threads a process of its own is pinned to as many cores. In it each job's output is
checked (peers.check), then native and peers run in turn, each for 50 ms a turn; the ratio is that of the
medians over the turns. The limit is what the parts of the native decode, timed by themselves in the same
process, would take one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from bench.parts import part, tile_samples
from bench.peers import PEERS, Job, check, least_seconds, native
from ttc_fast.numerics import extension

DIMS = [8, 16, 32, 64, 128]
TURN = 0.05
README = Path(__file__).parent / "README.md"
MARKS = "<!-- bench.compare -->", "<!-- /bench.compare -->"


def turn(job: Callable[[int], Any], seed: int) -> float:
    """Seconds of one call, averaged over a turn."""
    calls, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < TURN:
        job(seed + calls)
        calls += 1
    return passed / calls


def limit(job: Job) -> dict[str, float]:
    """Rates of the parts on one core, and the coefficient-steps per second that they imply together."""
    bits, steps = job.kind == "binary", max(1, 2**17 // job.dim) * 4
    parts = ["draws", "products"] + (["links"] if bits else [])
    runs = {name: part(name, job.dim, steps, bits=bits) for name in [*parts, "words"]}
    seconds = least_seconds(runs, 7)
    rates = {name: steps * job.dim * tile_samples() / taken for name, taken in seconds.items()}
    return {**rates, "limit": 1 / sum(1 / rates[name] for name in parts)}


def measure(job: Job, threads: int, turns: int) -> dict[str, Any]:
    """Median seconds of native and every peer."""
    jobs = {"native": native(job), **{name: make(job) for name, make in PEERS.items()}}
    for run in jobs.values():
        check(job, run(1))
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    for i in range(turns):
        for name, run in jobs.items():
            seconds[name].append(turn(run, 1000 * i))
    rates = {name: job.work / statistics.median(times) for name, times in seconds.items()}
    best = max(PEERS, key=rates.__getitem__)
    parts = limit(job)
    return {
        "kind": job.kind, "dim": job.dim, "samples": job.samples, "steps": job.steps, "threads": threads,
        "coefficient_steps_per_second": rates, "best_peer": best, "ratio": rates["native"] / rates[best],
        "parts": parts, "fraction_of_limit": rates["native"] / (threads * parts["limit"]),
    }  # fmt: skip


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "instructions": extension.isa(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
    }


def table(results: list[dict[str, Any]]) -> str:
    """Markdown, a row for each job."""
    lines = [
        "| coefficients | d | threads | native | best peer | ratio | " + " | ".join(PEERS) + " | of its limit |",
        "| --- " * (len(PEERS) + 7) + "|",
    ]
    for r in results:
        rates = {name: rate / 1e6 for name, rate in r["coefficient_steps_per_second"].items()}
        peers = " | ".join(f"{rates[name]:.0f}" for name in PEERS)
        lines.append(
            f"| {r['kind']} | {r['dim']} | {r['threads']} | {rates['native']:.0f} | {r['best_peer']} | "
            f"**{r['ratio']:.1f}** | {peers} | {100 * r['fraction_of_limit']:.0f} % |"
        )
    return "\n".join(lines)


def child(threads: int, dims: list[int], turns: int) -> None:
    """Measure in this process, pinned to ``threads`` cores, a JSON line for each job."""
    torch.set_num_threads(threads)
    for kind in ("continuous", "binary"):
        for dim in dims:
            print(json.dumps(measure(Job(kind, dim), threads, turns)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dims", type=int, nargs="+", default=DIMS)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--readme", action="store_true", help="replace the table in bench/README.md")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child, options.dims, options.turns)
    results = []
    for threads in options.threads:
        cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:threads]))
        command = ["taskset", "-c", cores, sys.executable, "-m", "bench.compare", "--child", str(threads)]
        command += ["--turns", str(options.turns), "--dims", *map(str, options.dims)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                results.append(json.loads(line))
                print(table(results[-1:]).splitlines()[-1], file=sys.stderr)
        if process.returncode:
            sys.exit(f"bench.compare: the process for {threads} threads failed")
    text = table(results)
    print(text)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1) + "\n")
    if options.readme:
        m = machine()
        caption = (
            f"One prompt, N = 4096, T = 32, float32, millions of coefficient-steps per second; {m['cpu']}, "
            f"{m['instructions']}, torch {m['torch']}, {m['date']}."
        )
        before, rest = README.read_text().split(MARKS[0])
        README.write_text(f"{before}{MARKS[0]}\n{caption}\n\n{text}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


if __name__ == "__main__":
    main()
