"""An evaluation on several devices of one machine: each takes some of the prompts, a thread leads each."""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import torch

from ..estimators.table import Table
from ..numerics.progress import Report
from ..tasks.base import Source, Task
from ..tasks.prompts import Prompts
from .evaluate import evaluation
from .plan import Plan
from .stages import Evaluation


@dataclass(frozen=True)
class _Part:
    """Some prompts of a source, on a device."""

    source: Source
    start: int
    stop: int
    device: torch.device

    @property
    def task(self) -> Task | None:
        return getattr(self.source, "task", None)

    def part(self, start: int, stop: int) -> Prompts:
        return self.source.part(self.start + start, self.start + stop).to(self.device)

    def __len__(self) -> int:
        return self.stop - self.start


class _StoppedError(Exception):
    """Another device has failed: nobody will see what this one finds."""


class _Board:
    """What the devices report: their shares together, one report at a time."""

    def __init__(self, report: Report, sizes: Sequence[int]) -> None:
        self._report, self._sizes, self._shares = report, sizes, [0.0] * len(sizes)
        self._lock, self.stopped = threading.Lock(), False

    def of(self, number: int) -> Report:
        def report(stage: str, share: float) -> None:
            with self._lock:
                if self.stopped:
                    raise _StoppedError
                self._shares[number] = share
                done = sum(share * size for share, size in zip(self._shares, self._sizes))
                self._report(stage, done / sum(self._sizes))

        return report


def evaluation_on(devices: Sequence[torch.device], plan: Plan, prompts: Source, *, progress: Report) -> Evaluation:
    """:func:`~ttc_fast.evaluation.evaluate.evaluation` with the prompts divided among devices: the same table to the
    bit as from one of them. An exception of a device ends the work of the others and is raised.

    Args:
        devices: at least one.
        plan: what is asked for.
        prompts: those that the plan was made for, wherever they are.
        progress: told the share of all prompts that is done.

    Returns:
        The table, and facts of how it was made; the times are those of the device that took longest.
    """
    count = min(len(devices), len(prompts))
    edges = [len(prompts) * i // count for i in range(count + 1)]
    parts = [_Part(prompts, edges[i], edges[i + 1], devices[i]) for i in range(count)]
    board = _Board(progress, [len(part) for part in parts])

    def work(number: int) -> Evaluation:
        part = parts[number]
        decoder = copy.deepcopy(plan.decoder).to(part.device)
        with torch.inference_mode():
            return evaluation(replace(plan, decoder=decoder), part, progress=board.of(number))

    with ThreadPoolExecutor(count) as threads:
        running = [threads.submit(work, i) for i in range(count)]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            board.stopped = not all(_done(future) for future in running)
    _raise(running)
    return _joined([future.result() for future in running])


def _done(future: Future[Evaluation]) -> bool:
    return future.done() and future.exception() is None


def _raise(futures: Sequence[Future[Evaluation]]) -> None:
    """The exception that ended the others, if there was one."""
    for error in (future.exception() for future in futures):
        if error is not None and not isinstance(error, _StoppedError):
            raise error


def _joined(parts: Sequence[Evaluation]) -> Evaluation:
    return Evaluation(
        Table.concat([part.table for part in parts]),
        parts[0].backend,
        max(part.decode_seconds for part in parts),
        max(part.compile_seconds for part in parts),
        torch.cat([part.unstable for part in parts]),
    )
