"""The C++ self-test, on this machine and, by cross-compiler and emulator, on arm64."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
X86 = {
    "AVX2": ["-mavx2", "-mfma"],
    "AVX512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"],
}
ARM = {"NEON": list[str]()}


def build_and_run(
    compiler: str,
    variants: dict[str, list[str]],
    emulator: list[str],
    folder: Path,
    more: tuple[str, ...] = ("-static",),
) -> str:
    """Output of the self-test, built with ``compiler`` and ``more`` flags; an error if it finds a fault."""
    flags = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", *more]
    objects, defines = [], []
    for name, extra in variants.items():
        objects.append(str(folder / f"{name}.o"))
        defines.append(f"-DTTC_FAST_HAVE_{name}")
        kernel = [str(CSRC / "kernel.cpp"), f"-DTTC_FAST_ISA_{name}"]
        subprocess.run([compiler, *flags, *extra, "-c", *kernel, "-o", objects[-1]], check=True)
    sources = [str(CSRC / f"{name}.cpp") for name in ("selftest", "decode", "aggregate", "answers", "kernel")]
    program = str(folder / "selftest")
    subprocess.run([compiler, *flags, *defines, *sources, *objects, "-pthread", "-o", program], check=True)
    done = subprocess.run([*emulator, program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_here(tmp_path: Path) -> None:
    variants = X86 if platform.machine() == "x86_64" else ARM
    output = build_and_run("c++", variants, [], tmp_path)
    assert "words: ok\nexceptions: ok" in output


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_parts_of_benchmarks_compile() -> None:
    """``bench/parts.cpp`` calls the kernel's own functions: without any instruction set and with each."""
    source = str(CSRC.parent / "bench" / "parts.cpp")
    for name, flags in {"PORTABLE": list[str](), **(X86 if platform.machine() == "x86_64" else ARM)}.items():
        command = ["c++", "-std=c++17", "-fsyntax-only", *flags, f"-DTTC_FAST_ISA_{name}", source]
        subprocess.run(command, check=True)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_without_data_races(tmp_path: Path) -> None:
    """Under the thread sanitizer, which makes the program fail where two threads race for a number."""
    (tmp_path / "try.cpp").write_text("int main() {}")
    tried = ["c++", "-fsanitize=thread", str(tmp_path / "try.cpp"), "-o", str(tmp_path / "try")]
    if subprocess.run(tried, capture_output=True).returncode or subprocess.run([tmp_path / "try"]).returncode:
        pytest.skip("this compiler has no thread sanitizer")
    variants = {name: flags for name, flags in X86.items() if name == "AVX2"} if platform.machine() == "x86_64" else ARM
    output = build_and_run("c++", variants, [], tmp_path, ("-O1", "-g", "-fsanitize=thread"))
    assert "words: ok\nexceptions: ok" in output


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("aarch64-linux-gnu-g++") is None or shutil.which("qemu-aarch64") is None,
    reason="no cross-compiler or emulator for arm64 (Debian: g++-aarch64-linux-gnu, qemu-user)",
)
def test_on_arm64(tmp_path: Path) -> None:
    """NEON gives the bits that AVX2 and AVX-512 give."""
    output = build_and_run("aarch64-linux-gnu-g++", ARM, ["qemu-aarch64"], tmp_path)
    cases = [(CSRC / name).read_text().splitlines() for name in ("selftest.inc", "selftest_attention.inc")]
    assert output.count("neon") == sum(map(len, cases))
