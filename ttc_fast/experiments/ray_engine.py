"""Who computes the shards of a sweep: a Ray cluster. Needs ray (the extra ``ray``).

Code and settings travel as names of the installed package. Workers that see the folder write their shards themselves;
from others the shards come back through Ray, one at a time.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from .shards import Store
from .work import Outcome, Task, attempt


class RayEngine:
    """Tasks of a Ray cluster; no more in flight than can run.

    Args:
        workers: tasks at a time; None: as many as the cluster has processors, at every moment.
        address: of the cluster; None: that of RAY_ADDRESS, else one that runs here, else a new one of this machine.

    Raises:
        ValueError: ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, workers: int | None, address: str | None) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ValueError("engine: expected ray to be installed, got none; pip install 'ttc-fast[ray]'")
        self._ray: Any = importlib.import_module("ray")
        self._own = not self._ray.is_initialized()
        if self._own:
            existing = {} if address is not None or "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
            try:
                self._ray.init(address=address, log_to_driver=False, logging_level="ERROR", **existing)
            except (ConnectionError, RuntimeError) as error:
                raise ValueError(f"address: expected a Ray cluster, got none at {address}: {error}") from error
        self._most = workers
        self._running: dict[Any, Task] = {}
        self._marks: dict[str, Path] = {}
        self._far: dict[bool, Any] = {
            gpu: self._ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=0)(_far) for gpu in (False, True)
        }

    @property
    def workers(self) -> int:
        return self._most or max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def start(self, task: Task) -> None:
        if task.folder not in self._marks:
            mark = Store(task.folder).drafts / f"mark-{os.urandom(8).hex()}"
            mark.touch()
            self._marks[task.folder] = mark
        gpu = getattr(task.config, "device", "cpu").startswith("cuda")
        self._running[self._far[gpu].remote(task, str(self._marks[task.folder]))] = task

    def finished(self, seconds: float) -> list[tuple[Task, Outcome]]:
        if not self._running:
            return []
        found = []
        refs = list(self._running)
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=seconds)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        for ref in ready:
            try:
                outcome: Outcome = self._ray.get(ref)
            except self._ray.exceptions.RayError as error:  # the task catches its own: the worker or its node is gone
                outcome = Outcome("transient", text=f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
            found.append((self._running.pop(ref), outcome))
        return found

    def close(self) -> None:
        for ref in self._running:
            self._ray.cancel(ref, force=True)
        self._running.clear()
        for mark in self._marks.values():
            mark.unlink(missing_ok=True)
        if self._own:
            self._ray.shutdown()


def _far(task: Task, mark: str) -> Outcome:
    """On a node of the cluster: a shard into the folder if its mark is seen here, else back to the driver."""
    import torch

    torch.set_num_threads(1)
    if Path(mark).exists():
        return attempt(task)
    with tempfile.TemporaryDirectory() as folder:
        outcome = attempt(task._replace(folder=folder))
        if outcome.state != "made":
            return outcome
        store = Store(folder)
        return outcome._replace(content=store.path(store.listed(task.block.key)[0]).read_bytes())
