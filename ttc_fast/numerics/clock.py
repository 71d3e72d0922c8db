"""How long work takes where it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Clock:
    """The time of several stretches of work: on a GPU by its own events, for which nothing is waited until the time is
    asked for.

    Args:
        device: that works.
    """

    def __init__(self, device: torch.device) -> None:
        self._gpu = device if device.type == "cuda" else None
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """The work within counts."""
        if self._gpu is None:
            began = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - began
            return
        stream = torch.cuda.current_stream(self._gpu)
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record(stream)
        yield
        end.record(stream)
        self._events.append((start, end))

    def seconds(self) -> float:
        """Of all work so far, which is waited for."""
        for start, end in self._events:
            end.synchronize()
            self._seconds += start.elapsed_time(end) / 1e3
        self._events.clear()
        return self._seconds
