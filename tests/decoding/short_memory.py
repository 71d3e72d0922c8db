"""A program without PyTorch: every function of the extension that allocates, while allocations fail one by one or while
the address space is bounded. Each call must give the bits that it gives otherwise, or raise MemoryError.

    short_memory.py EXTENSION (one | all | limit) STRIDE

The output is a JSON object: for each function how many calls failed, the messages, and the calls that did neither.
"""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType
from typing import Any

import numpy as np

PAGE = resource.getpagesize()
RIGHT, SHORT = 0, 3
END = np.array(b"nothing failed")


def load(path: str) -> ModuleType:
    spec = spec_from_loader("_C", ExtensionFileLoader("_C", path))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def calls(c: ModuleType, scale: int) -> dict[str, Callable[[], list[Any]]]:
    """Every function that allocates, on three threads; ``scale`` multiplies the number of samples."""
    random = np.random.default_rng(0)
    prompts, samples, dim, isa = 3, 60 * scale, 9, c.isas()[0]
    shared: dict[str, Any] = {"threads": 3, "isa": isa}
    w = random.integers(0, 2, (prompts, samples, dim)).astype(np.float32)
    score = random.integers(-5, 5, (prompts, samples)).astype(np.float32)
    x, y = (random.standard_normal(shape).astype(np.float32) for shape in ((prompts, 12, dim), (prompts, 12)))
    bits = c.measure(w, examples=None, factor=1.0, aim=None, equality=False, pack=True, threads=1, isa=isa)[2]
    orders = np.stack([random.permutation(samples // 2) for _ in range(2)])
    groups = {"block": 2, "groups": [(1, 1), (2, 3), (4, 2), (7, 1), (samples, 1)]}
    sizes, once = np.array([9, 8, 8, 5, 2]) * scale, np.ones(5, np.int64)
    first = random.permutation(np.repeat(np.arange(5), sizes))
    state, w0 = random.standard_normal((prompts, dim, dim + 1)).astype(np.float32) * 0.1, w[:, 0].copy()

    def decoded(rule: str, every_step: bool) -> list[Any]:
        thoughts = np.zeros((2, prompts, samples, dim), np.float32)
        c.decode_into(thoughts, state, w0, np.ones(1, np.float32), rule=rule, every_step=every_step, temperature=0.5,
                      ones=3, steps=[9, 4], seed=1, first_sample=0, first_prompt=0, first_step=0, **shared)  # fmt: skip
        return [thoughts]

    def attended(activation: str) -> list[Any]:
        thoughts = np.zeros((2, prompts, samples, dim), np.float32)
        keys, values = state[:, None].swapaxes(2, 3)[:, :, :9].copy(), state[:, None, :, :9].copy()
        c.decode_attention_into(thoughts, heads=[(keys, w0[:, None].copy(), values, activation)], A=None, c=w0, w0=w0,
                                scales=np.ones(1, np.float32), rule="gaussian", every_step=True, temperature=0.5,
                                ones=3, steps=[9, 4], seed=1, first_sample=0, first_prompt=0, first_step=0,
                                **shared)  # fmt: skip
        return [thoughts]

    def answers(technique: str) -> list[Any]:
        arguments: dict[str, Any] = {"parameter": 0.5, "seed": 1, "first_prompt": 0, "step": 4, **groups, **shared}
        return [c.group_answers(w, score, orders, technique=technique, **arguments)]

    def law(repeats: list[int], of: Any, k: int, fair: bool) -> list[Any]:
        return [c.win_probability(sizes, np.array(repeats), of, 3 * scale, k, fair, 0.1, 61)]

    normals = {"seed": 1, "first_sample": 0, "first_prompt": 0, "step": 2}
    measured = {"examples": (x, y), "factor": 1.0, "aim": (w0, w0), "equality": True, "pack": True}
    named: dict[str, Callable[[], list[Any]]] = {
        "decode softmax": lambda: attended("softmax"),
        "normals": lambda: [c.normals(prompts, samples, dim, **normals, **shared)],
        "measure": lambda: list(c.measure(w, **measured, **shared)),
        "tree_sum": lambda: [c.tree_sum(w, threads=3)],
        "best_of_k": lambda: [
            c.best_of_k(score, lowest=False, values=[score], weight=np.ones((samples, 8)), **shared)
        ],
        "vote_recovery": lambda: list(c.vote_recovery(bits, w0, orders, **groups, **shared)),
        "win_probability drawn": lambda: law([1, 2, 1, 3, 1], np.zeros(0, np.int64), 20 * scale, True),
        "win_probability failing": lambda: law([1, 2, 1, 3, 1], np.zeros(0, np.int64), 21 * scale, False),
        "win_probability first": lambda: law(once.tolist(), first, 19 * scale, False),
    }  # fmt: skip
    # mypy cannot tell the type of a lambda with defaults.
    for rule, every_step in (("gaussian", True), ("sigmoid", True), ("clip", False), ("subset", True)):
        named[f"decode {rule} {every_step}"] = lambda rule=rule, every=every_step: decoded(rule, every)  # type: ignore[misc]
    for technique in ("softmax_mean", "weighted_vote", "plurality", "weighted_best_of_n", "majority_of_best"):
        named[f"group_answers {technique}"] = lambda technique=technique: answers(technique)  # type: ignore[misc]
    return named


def used() -> int:
    """Bytes of the address space."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * PAGE


@contextmanager
def limited(more: int) -> Iterator[None]:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (used() + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def digest(results: list[Any]) -> bytes:
    return hashlib.sha256(b"".join(array.tobytes() for array in results)).digest()


def attempt(work: Callable[[], list[Any]]) -> tuple[int, bytes]:
    """In a process of its own, so that nothing is kept of earlier calls: its status, and the digest or the message."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said, status = digest(work()), RIGHT
        except MemoryError as error:
            said, status = str(error).encode(), SHORT
        except BaseException as error:
            said, status = repr(error).encode(), 1
        os.write(sender, said)
        os._exit(status)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def failing(call: Callable[[], list[Any]], number: int, all_from_then_on: bool) -> list[Any]:
    preloaded = ctypes.CDLL(None)
    preloaded.fail_allocation(number, all_from_then_on)
    try:
        results = call()
    finally:
        failed = preloaded.stop_failing()
    return results if failed else [*results, END]


def under_limit(call: Callable[[], list[Any]], more: int) -> list[Any]:
    with limited(more):
        return call()


def main() -> None:
    path, kind, stride = sys.argv[1], sys.argv[2], int(sys.argv[3])
    c = load(path)
    failures: dict[str, int] = {}
    messages: set[str] = set()
    wrong: list[str] = []
    # Where the space is bounded, arrays of megabytes: small ones come from what the process has.
    for name, call in calls(c, 100 if kind == "limit" else 1).items():
        right = attempt(call)
        assert right[0] == RIGHT, (name, right)
        whole = attempt(lambda call=call: [*call(), END])  # type: ignore[misc]  # a lambda's default has no type
        failures[name] = 0
        numbers = [*range(0, 24 << 20, 1 << 18), *range(24 << 20, 300 << 20, 4 << 20)]
        for number in numbers[::stride] if kind == "limit" else itertools.count(1, stride):
            if kind == "limit":
                got = attempt(lambda call=call, number=number: under_limit(call, number))  # type: ignore[misc]
            else:
                got = attempt(lambda call=call, number=number: failing(call, number, kind == "all"))  # type: ignore[misc]
            if got == whole:
                break
            if got[0] == SHORT:
                failures[name] += 1
                messages.add(got[1].decode())
            elif got != right:
                wrong.append(f"{name}, {kind} {number}: status {got[0]}")
    print(json.dumps({"failures": failures, "messages": sorted(messages), "wrong": wrong}))


if __name__ == "__main__":
    main()
