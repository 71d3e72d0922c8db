"""Threads of the C++ extension: none is left behind, a fork and an interrupt are safe."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from decoding_problems import problem
from ttc_fast import (
    GaussianNoise,
    decode,
)

_C = pytest.importorskip("ttc_fast._C", reason="the C++ extension is not built")


def work(samples: int = 400) -> Tensor:
    state, w0 = problem(2, 9)
    return decode(state, w0, rule=GaussianNoise(0.2), steps=[20], samples=samples, seed=4, backend="native").thoughts


def threads_alive() -> int:
    return len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else threading.active_count()


def test_no_thread_is_left_behind() -> None:
    torch.set_num_threads(5)
    work()
    before = threads_alive()
    for _ in range(20):
        work()
    deadline = time.monotonic() + 10  # a thread that was joined may stay in the list for a moment
    while threads_alive() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads_alive() <= before


def test_several_python_threads() -> None:
    expected = work()
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(result, expected) for result in pool.map(lambda _: work(), range(40)))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
def test_after_fork() -> None:
    """The child of a process that has decoded on threads decodes on threads; torch's own pool would hang there."""
    torch.set_num_threads(2)
    state, w0 = problem(2, 9)
    arguments: dict[str, Any] = {"rule": GaussianNoise(0.2), "steps": [20], "samples": 400, "backend": "native"}
    expected = decode(state, w0, **arguments).thoughts
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        sender.send_bytes(decode(state, w0, **arguments).thoughts.numpy().tobytes())

    process = context.Process(target=child)
    process.start()
    try:
        assert receiver.poll(30)
        assert receiver.recv_bytes() == expected.numpy().tobytes()
        process.join(30)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("size", ["10**8, steps=[1]", "1, steps=[2**31 - 1]"], ids=["many samples", "one long chain"])
def test_interrupt_within_a_second(size: str) -> None:
    code = (
        "import signal, sys, torch, ttc_fast as t\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # `pytest &` in a script has it ignored
        "state, w0, rule = torch.zeros(1, 8, 9), torch.zeros(1, 8), t.GaussianNoise(0.0)\n"
        "t.decode(state, w0, rule=rule, samples=1, steps=[1], backend='native')\n"
        "print('ready', flush=True)\n"
        "try:\n"
        f"    while True: t.decode(state, w0, rule=rule, samples={size}, backend='native')\n"
        "except KeyboardInterrupt: sys.exit(7)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert select.select([process.stdout], [], [], 60)[0], "not ready within a minute"
        assert process.stdout.readline() == b"ready\n"
        time.sleep(0.5)  # the extension says nothing once it has begun
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        assert process.wait(timeout=60) == 7
        assert time.monotonic() - began < 5  # below 1 s on a quiet machine
    finally:
        process.kill()
        process.communicate()
