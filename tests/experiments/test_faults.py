"""Faults of the real kind: processes that are killed, disks that are full, two drivers, another file system.

Each time a rerun ends with the bytes of an undisturbed sweep, and no file of a complete shard is written again.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from experiments.sweeps import digest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are found in /proc, as Linux has it"),
]

SHARDS = 20
STUDY = f"""
seeds = {SHARDS}
[run]
coefficients = "continuous"
samples = 8192
dim = 8
prompts = 24
steps = [16, 32]
theory = false
technique = ["mean", "best_of_n"]
"""
"""Each run is a shard of some tenths of a second."""


def command(folder: Path, *more: str) -> list[str]:
    study = folder.parent.parent / f"{folder.parent.name}-study.toml"
    study.write_text(STUDY)
    return [sys.executable, "-m", "ttc_fast.cli.entry", "sweep", str(study), "--out", str(folder), *more]


def started(
    folder: Path, *more: str, limit: Callable[[], None] | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    """A driver in a process group of its own, whose words go to a file."""
    with words(folder).open("wb") as err:
        return subprocess.Popen(
            command(folder, "--workers", "2", *more), start_new_session=True, stdout=subprocess.DEVNULL, stderr=err,
            preexec_fn=limit, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )  # fmt: skip


def words(folder: Path) -> Path:
    return folder.parent.parent / f"{folder.parent.name}-words"


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """The shards that are complete, with what changes if one is written again."""
    found = {}
    for path in folder.glob("shards/*/*.parquet"):
        status = path.stat()
        found[path.name] = status.st_ino, status.st_mtime_ns
    return found


def workers(pid: int) -> list[int]:
    """Processes that a driver has started and that compute."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("undisturbed") / "out"
    assert started(folder).wait(300) == 0, words(folder).read_text()
    assert len(files(folder)) == SHARDS
    return folder


def test_killed_twenty_times(whole: Path, tmp_path: Path) -> None:
    """A worker, the driver, or everything, at random moments; what a killed driver's workers still finish counts."""
    draw, folder, finished = random.Random(16), tmp_path / "out", 0
    seen: dict[str, tuple[int, int]] = {}
    for i in range(20):
        process = started(folder)
        try:
            time.sleep(draw.uniform(1.5, 5.0))
            victim = ("worker", "driver", "everything")[i % 3]
            if victim == "worker" and (found := workers(process.pid)):
                os.kill(draw.choice(found), signal.SIGKILL)
                time.sleep(draw.uniform(0.0, 2.0))
            if victim == "driver":
                process.kill()
            else:
                os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it was complete
        finished += process.wait(300) == 0
        there = files(folder)
        assert seen.items() <= there.items()
        seen = there
        if finished:
            for path in folder.glob("shards/*/*"):  # begin anew, so that all kills meet a sweep that is at work
                path.unlink()
            seen, finished = {}, 0
    assert started(folder).wait(300) == 0, words(folder).read_text()
    assert seen.items() <= files(folder).items()
    assert digest(folder) == digest(whole)
    assert not list((folder / "drafts").iterdir())


JUMPING = """
import random, time
draw, now, now_ns = random.Random(), time.time, time.time_ns
time.time = lambda: now() + draw.choice((-3600.0, 0.0, 3600.0))
time.time_ns = lambda: now_ns() + draw.choice((-1, 0, 1)) * 3600 * 10**9
"""
"""A clock that jumps by an hour at every look, in the driver and its workers."""


def test_a_clock_that_jumps(whole: Path, tmp_path: Path) -> None:
    """Between the looks of one process, and between a killed sweep, its files and the next: nothing is done again."""
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    folder = tmp_path / "out"
    process = started(folder, PYTHONPATH=str(tmp_path))
    while len(files(folder)) < 5:
        assert process.poll() is None, words(folder).read_text()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    for i, path in enumerate([path for path in folder.rglob("*") if path.is_file()]):
        os.utime(path, (time.time() + (i % 3 - 1) * 3600,) * 2)
    there = files(folder)
    assert started(folder, PYTHONPATH=str(tmp_path)).wait(300) == 0, words(folder).read_text()
    assert there.items() <= files(folder).items()
    assert digest(folder) == digest(whole)


def test_a_limit_of_file_sizes(tmp_path: Path) -> None:
    """As of a quota: the sweep ends at once, says so, and leaves nothing that is not whole."""
    folder = tmp_path / "out"
    assert started(folder, "--shard", f"1/{SHARDS}").wait(300) == 0  # the plan is written
    least = min(path.stat().st_size for path in folder.glob("shards/*/*"))
    process = started(folder, limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (least // 2, least // 2)))
    assert process.wait(300) == 1
    assert "File too large" in words(folder).read_text()
    assert len(files(folder)) == 1
    assert not list((folder / "drafts").iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk(whole: Path, small_disk: Path) -> None:
    folder = small_disk / "out"
    assert started(folder).wait(300) == 1
    assert "No space left on device" in words(folder).read_text()
    there = files(folder)
    assert 0 < len(there) < SHARDS
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert started(folder).wait(300) == 0
    assert there.items() <= files(folder).items()
    assert digest(folder) == digest(whole)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this system has no /dev/shm")
def test_two_drivers_on_another_file_system(whole: Path) -> None:
    """At once: each shard is computed by one of them, both wait for all, both succeed."""
    place = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        both = [started(place / "a" / "out"), started(place / "a" / "out")]
        seen: dict[str, tuple[int, int]] = {}
        while any(process.poll() is None for process in both):
            there = files(place / "a" / "out")
            assert seen.items() <= there.items()
            seen = there
            time.sleep(0.1)
        assert [process.returncode for process in both] == [0, 0]
        assert digest(place / "a" / "out") == digest(whole)
    finally:
        shutil.rmtree(place)


RAY = """
import os, signal, subprocess, sys, time
from pathlib import Path
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
second = cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
raylet = second.all_processes["raylet"][0].process.pid
driver = subprocess.Popen([*sys.argv[2:], "--engine", "ray", "--address", cluster.address])

def workers():
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(raylet)], capture_output=True, text=True).stdout
    return {int(line.split(None, 1)[0]): line.split(None, 1)[1] for line in listed.splitlines()}

def stopped_in_a_task():
    # Ray writes the task into the worker's name; one that is stopped cannot end the task before it is killed.
    busy = [pid for pid, name in workers().items() if name.startswith("ray::_far")]
    for pid in busy:
        os.kill(pid, signal.SIGSTOP)
        if workers().get(pid, "").startswith("ray::_far"):
            return True
        os.kill(pid, signal.SIGCONT)
    return False

try:
    while not (list(Path(sys.argv[1]).glob("shards/*/*.parquet")) and stopped_in_a_task()):
        assert driver.poll() is None
        time.sleep(0.05)
    for pid in [raylet, *workers()]:
        os.kill(pid, signal.SIGKILL)
    code = driver.wait()
finally:
    driver.kill()
    cluster.shutdown()
sys.exit(code)
"""


@pytest.mark.parametrize("shared", [True, False])
def test_a_ray_node_is_killed(shared: bool, whole: Path, tmp_path: Path) -> None:
    """Of a cluster of two nodes on this machine; without a shared folder the shards come back through Ray."""
    pytest.importorskip("ray", exc_type=ImportError)
    folder = tmp_path / "out"
    line = command(folder)
    if not shared:
        line[1:3] = ["-c", FAR]
    environment = {**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", RAY, str(folder), *line], text=True, capture_output=True, timeout=300, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "(try 1 of 3)" in done.stderr  # the shards of the node that died
    assert digest(folder) == digest(whole)


FAR = """
import sys
from pathlib import Path
from ttc_fast.experiments import ray_engine
touch = Path.touch
ray_engine.Path.touch = lambda path, *a, **k: None if path.name.startswith("mark-") else touch(path, *a, **k)
from ttc_fast.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""A driver whose mark is seen by no worker, as where the folder is of its machine alone."""
