"""The decode by native and by each peer: ``pytest bench``. Every output is checked before it is timed."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from bench.compare import DIMS, limit
from bench.peers import PEERS, Job, check, native


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("name", ["native", *PEERS])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kind", ["continuous", "binary"])
@pytest.mark.parametrize("threads", [1, 2])
def test_decode(benchmark: BenchmarkFixture, threads: int, kind: str, dim: int, name: str) -> None:
    if name == "JAX":
        pytest.importorskip("jax", reason="JAX is not installed: pip install -e '.[bench]'")
        if threads == 1:
            pytest.skip("JAX takes all cores of the process: see bench.compare, which pins it")
    torch.set_num_threads(threads)
    job = Job(kind, dim)
    run = {"native": native, **PEERS}[name](job)
    check(job, run(1))
    benchmark.group = f"{kind}, d = {dim}, {threads} threads"
    benchmark.pedantic(run, (2,), rounds=5, iterations=1, warmup_rounds=1)
    rate = job.work / benchmark.stats.stats.median  # type: ignore[union-attr]  # there are stats once it has run
    benchmark.extra_info["coefficient_steps_per_second"] = rate
    if name == "native":
        benchmark.extra_info["fraction_of_limit"] = rate / (threads * limit(job)["limit"])
