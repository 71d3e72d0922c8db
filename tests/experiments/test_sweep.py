"""Sweeps: bytes that do not depend on how they were made, files that are the truth, faults of workers and disks."""

from __future__ import annotations

import dataclasses
import errno
import itertools
import json
import math
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ttc_fast as tf
from experiments.sweeps import STUDY, Inline, blocks_of, digest, swept
from ttc_fast.experiments.driver import TRIES
from ttc_fast.experiments.grid import points
from ttc_fast.experiments.shards import Block, Store, missing
from ttc_fast.experiments.sweep import merge
from ttc_fast.experiments.sweep_run import Runs
from ttc_fast.experiments.work import Outcome, Task, attempt, key_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sweep, undisturbed, a shard for each run."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        blocks_of(patch, 8)
        swept(folder)
    return folder


def test_figures_are_those_of_runs(whole: Path) -> None:
    found = tf.load(whole)
    assert found.axes == {"dim": [2, 3], "seed": [0, 1]}
    for point, table in zip(points(STUDY), found.tables):
        direct = tf.run(point.config).table
        assert table.keys == direct.keys
        assert dict(table.about) == dict(direct.about)
        for name in ("values", "theory", "theory_variance", "thoughts", "scores", "repeats"):
            np.testing.assert_array_equal(getattr(table, name), getattr(direct, name))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_bytes_do_not_depend_on_shards_workers_and_order(
    whole: Path, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(monkeypatch, size)
    done, _ = swept(tmp_path, Inline(size, last_first=size > 1))
    assert len(done) == 4 * math.ceil(5 / size)
    assert digest(tmp_path) == digest(whole)


def test_parts(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each shard in one part, whatever other drivers would have measured; the last one merges."""
    done = []
    for i, size in ((2, 2), (3, 1), (1, 5)):
        blocks_of(monkeypatch, size)
        with pytest.raises(ValueError, match="without table"):
            tf.load(tmp_path)
        done += swept(tmp_path, part=(i, 3))[0]
    assert len(done) == len({task.block for task in done}) == 12
    assert digest(tmp_path) == digest(whole)


def test_merge_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks_of(monkeypatch, 2)
    swept(tmp_path, part=(1, 2))
    with pytest.raises(ValueError, match="got 6 gaps, the first at prompts 2 to 4 of the run with dim 2, seed 0"):
        merge(tmp_path)
    with pytest.raises(ValueError, match="expected one that ttc-fast sweep made"):
        merge(tmp_path / "shards")


def test_more_values_reuse_what_is_there(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More seeds, more prompts and a default that is spelled out; back again nothing is computed."""
    blocks_of(monkeypatch, 2)
    swept(tmp_path)
    more = {"run": {**STUDY["run"], "prompts": 6, "noise-scale": 0.2}, "grid": {"dim": [3, 2], "seed": [1, 2]}}
    blocks_of(monkeypatch, 4)
    done, _ = swept(tmp_path, study=more)
    assert [tuple(task.block[1:]) for task in done] == [(5, 6), (0, 4), (4, 6), (5, 6), (0, 4), (4, 6)]
    table = tf.load(tmp_path).select(dim=2, seed=1).table()
    np.testing.assert_array_equal(table.values, tf.run(tf.RunConfig(**_settings(more), dim=2, seed=1)).table.values)
    assert swept(tmp_path) == ([], [])
    assert digest(tmp_path) == digest(whole)


def _settings(study: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("-", "_"): tuple(v) if isinstance(v, list) else v for name, v in study["run"].items()}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_damaged_shards_are_computed_again(
    whole: Path, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks_of(monkeypatch, 3)
    swept(tmp_path)
    files = sorted(tmp_path.glob("shards/*/*.parquet"))
    content = bytearray(files[3].read_bytes())
    content[len(content) // 2] ^= 4
    files[3].write_bytes({"truncated": bytes(content[:-7]), "flipped": bytes(content), "emptied": b""}[damage])
    with pytest.raises(ValueError, match=r"expected whole shards, got .* damaged; sweep again"):
        merge(tmp_path)
    done, notes = swept(tmp_path)
    assert [f"{task.block.key}/{task.block.start:010d}" in str(files[3]) for task in done] == [True]
    assert "is damaged: it is computed again" in notes[0]
    assert digest(tmp_path) == digest(whole)


def test_overlapping_shards_agree(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two drivers leave them where the file system has no locks."""
    blocks_of(monkeypatch, 5)
    swept(tmp_path)
    store, point = Store(tmp_path), points(STUDY)[0]
    key = tf.load(tmp_path).keys[0]
    config = dataclasses.replace(point.config, backend=tf.load(tmp_path).settings[0]["backend"])
    for start, stop in ((0, 2), (1, 4), (3, 5)):
        assert attempt(Task(str(tmp_path), Block(key, start, stop), Runs(), config, None)).state == "made"
    for shard in store.listed(key):
        if shard.block.stop - shard.block.start == 5:
            store.drop(shard)
    assert swept(tmp_path)[0] == []
    assert digest(tmp_path) == digest(whole)


def test_a_shard_that_kills_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After three tries; the rest finishes, and the next call tries it again."""
    blocks_of(monkeypatch, 8)

    def play(task: Task) -> Outcome:
        if task.config.dim == 3 and task.config.seed == 0:
            return Outcome("transient", text="the worker died (SIGKILL)")
        return attempt(task)

    engine = Inline(play=play)
    with pytest.raises(OSError, match=r"1 of 4 shards failed 3 times: prompts 0 to 5 of the run with dim 3, seed 0"):
        swept(tmp_path, engine)
    assert len(engine.done) == 3 + TRIES
    assert len(list(tmp_path.glob("shards/*/*"))) == 3
    assert [path.read_text().partition(":")[0] for path in tmp_path.glob("failed/*")] == [
        "prompts 0 to 5 of the run with dim 3, seed 0"
    ]
    done, _ = swept(tmp_path)
    assert len(done) == 1
    assert not list(tmp_path.glob("failed/*"))


def test_a_clock_that_jumps(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By an hour at every look, and files that were written an hour ago and in an hour: nothing asks for the time."""
    blocks_of(monkeypatch, 3)
    jumps, now = itertools.cycle((-3600.0, 3600.0, 0.0)), time.time
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    first, _ = swept(tmp_path, part=(1, 2))
    for path in tmp_path.glob("shards/*/*"):
        os.utime(path, (time.time(),) * 2)
    second, _ = swept(tmp_path)
    assert len(first) + len(second) == 8
    assert swept(tmp_path)[0] == []
    assert digest(tmp_path) == digest(whole)


def test_errors_that_pass(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks_of(monkeypatch, 8)
    seen: set[Block] = set()

    def play(task: Task) -> Outcome:
        if task.block in seen:
            return attempt(task)
        seen.add(task.block)
        return Outcome("transient", text="NodeDiedError")

    _, notes = swept(tmp_path, Inline(play=play))
    assert len(notes) == 4
    assert all("NodeDiedError (try 1 of 3)" in note for note in notes)
    assert digest(tmp_path) == digest(whole)


def test_real_errors_end_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks_of(monkeypatch, 8)

    def fail(*_: object) -> None:
        raise ValueError("budgets: expected fewer")

    monkeypatch.setattr("ttc_fast.experiments.sweep_run.compute", fail)
    engine = Inline()
    with pytest.raises(ValueError, match=r"run with dim 2, seed 0: ValueError: budgets: expected fewer"):
        swept(tmp_path, engine)
    assert len(engine.done) == 1


def test_a_full_disk_ends_the_sweep(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks_of(monkeypatch, 8)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "save", _full)
        with pytest.raises(OSError, match=r"(?s)out: .*No space left on device.*give the same command again"):
            swept(tmp_path)
    assert not list(tmp_path.glob("shards/*/*"))
    swept(tmp_path)
    assert digest(tmp_path) == digest(whole)


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_claimed_block_is_left_to_its_owner(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process is at one block: the others are done, then its shard is waited for, and not computed here."""
    blocks_of(monkeypatch, 8)
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    config = points(STUDY)[0].config
    swept(tmp_path, part=(4, 4))
    key = _plan_keys(tmp_path)[0]
    other = context.Process(target=_hold, args=(tmp_path, Block(key, 0, 5), tf.run(config).table, ready, go))
    other.start()
    try:
        assert ready.wait(30)
        states = []

        def play(task: Task) -> Outcome:
            states.append(attempt(task))
            if states[-1].state == "busy":
                go.set()
            return states[-1]

        swept(tmp_path, Inline(play=play))
    finally:
        go.set()
        other.join(30)
    assert sorted({outcome.state for outcome in states}) == ["busy", "made", "there"]
    assert [outcome.state for outcome in states].count("made") == 2
    assert digest(tmp_path) == digest(whole)


def _plan_keys(folder: Path) -> list[str]:
    name = json.loads((folder / "study.json").read_text())["plan"]
    return [run["key"] for run in json.loads((folder / "plans" / f"{name}.json").read_text())["runs"]]


def _hold(folder: Path, block: Block, table: tf.Table, ready: Any, go: Any) -> None:
    """Holds the claim of a block, and writes its shard when it may."""
    store = Store(folder)
    with store.claim(block) as mine:
        assert mine
        ready.set()
        go.wait(30)
        store.save(table, block)


def test_missing() -> None:
    """Against a count of every prompt, 300 random cases."""
    draw = np.random.default_rng(0)
    for _ in range(300):
        start, stop, *ends = draw.integers(0, 12, 8).tolist()
        there = [Block("", *sorted(pair)) for pair in zip(ends[::2], ends[1::2]) if pair[0] != pair[1]]
        found = missing(Block("", start, stop), there)
        wanted = [i for i in range(start, stop) if not any(b.start <= i < b.stop for b in there)]
        assert [i for b in found for i in range(b.start, b.stop)] == wanted
        assert all(one.stop < two.start for one, two in itertools.pairwise(found))


def test_what_the_key_depends_on(tmp_path: Path) -> None:
    """On what decides the results: not on which prompts, nor on where output goes; equal numbers are equal."""
    config = tf.RunConfig(dim=2, covariance=(0.0,))
    same: list[dict[str, Any]] = [
        {"prompts": 3},
        {"first_prompt": 9},
        {"quiet": True},
        {"covariance": (0,)},
        {"dim": np.int64(2)},
    ]
    other: list[dict[str, Any]] = [{"seed": 1}, {"theory": False}, {"samples": 5}, {"steps": (1,)}]

    def key(isa: str, **change: Any) -> str:
        return key_of(Runs().work(dataclasses.replace(config, **change)), isa)

    assert {key("x", **change) for change in [{}, *same]} == {key("x")}
    assert len({key("x", **change) for change in [{}, *other]}) == 5
    assert key("y") != key("x")
