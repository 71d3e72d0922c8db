"""Who computes the shards of a sweep: processes of this machine."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from abc import abstractmethod
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import NamedTuple, Protocol

from .work import Outcome, Task, attempt

BLAS_THREADS = "OPENBLAS_NUM_THREADS"
"""Of NumPy, which torch does not set: the bits of a fit may depend on it, and several workers would share the cores."""


class Engine(Protocol):
    """Computes tasks, several at a time."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """Tasks that it can have at a time."""

    @abstractmethod
    def start(self, task: Task) -> None:
        """Begin a task; only if fewer than ``workers`` are running.

        Args:
            task: what to do.
        """

    @abstractmethod
    def finished(self, seconds: float) -> list[tuple[Task, Outcome]]:
        """The tasks that ended since the last call, after waiting for one.

        Args:
            seconds: to wait at most.
        """

    @abstractmethod
    def close(self) -> None:
        """End all workers at once, whatever they are at."""


def cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Worker(NamedTuple):
    process: SpawnProcess
    pipe: Connection


class LocalEngine:
    """Processes of this machine, among which its threads are divided. One that dies takes its task only.

    Args:
        workers: processes.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._context = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
        self._idle: list[_Worker] = []
        self._busy: dict[Connection, tuple[_Worker, Task]] = {}

    @property
    def workers(self) -> int:
        return self._workers

    def start(self, task: Task) -> None:
        worker = self._idle.pop() if self._idle else self._spawned()
        self._busy[worker.pipe] = worker, task
        with contextlib.suppress(OSError):  # it has died: finished() will tell
            worker.pipe.send(task)

    def _spawned(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, max(1, cpus() // self._workers)), daemon=True)
        given = BLAS_THREADS in os.environ
        os.environ.setdefault(BLAS_THREADS, "1")
        process.start()
        if not given:
            del os.environ[BLAS_THREADS]
        there.close()  # so that the end of either process is the end of the pipe
        return _Worker(process, here)

    def finished(self, seconds: float) -> list[tuple[Task, Outcome]]:
        found = []
        ready = wait(list(self._busy), seconds) if self._busy else []
        for pipe in [pipe for pipe in self._busy if pipe in ready]:
            worker, task = self._busy.pop(pipe)
            try:
                outcome: Outcome = worker.pipe.recv()
                self._idle.append(worker)
            except (EOFError, OSError):
                worker.process.join()
                code = worker.process.exitcode or 0
                cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
                outcome = Outcome("transient", text=f"the worker died ({cause})")
                worker.pipe.close()
            found.append((task, outcome))
        return found

    def close(self) -> None:
        for worker in (*self._idle, *(worker for worker, _ in self._busy.values())):
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        self._idle.clear()
        self._busy.clear()


def _serve(pipe: Connection, threads: int) -> None:
    """A worker: tasks come and outcomes go until the driver is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver too, which ends this process
    import torch

    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(attempt(pipe.recv()))
