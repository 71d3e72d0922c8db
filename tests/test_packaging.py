"""What is installed and imported; each import check in a fresh process."""

from __future__ import annotations

import os
import platform
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

import ttc_fast

ROOT = Path(__file__).parent.parent


def python(code: str, folder: Path | str = "/") -> str:
    """What ``code`` prints in a fresh interpreter started in ``folder``."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light() -> None:
    """Neither triton nor matplotlib, nor the compiler that torch loads on demand, even after a decode."""
    code = (
        "import sys, torch, ttc_fast as t;"
        "t.decode(torch.zeros(1, 2, 3), torch.zeros(1, 2), rule=t.GaussianNoise(0.1), steps=[1], samples=2);"
        "print([m for m in ('triton', 'matplotlib', 'torch._dynamo') if m in sys.modules])"
    )
    assert python(code) == "[]"


def test_every_exported_name_exists() -> None:
    assert all(getattr(ttc_fast, name) is not None for name in ttc_fast.__all__)
    assert set(ttc_fast.__all__) <= set(dir(ttc_fast))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ttc_fast.nothing


@pytest.mark.parametrize("folder", ["/", str(ROOT)])
def test_kernels_are_part_of_the_package(folder: str) -> None:
    assert python("import ttc_fast.kernels as k; print(k.__name__)", folder) == "ttc_fast.kernels"


def test_runs_without_triton_and_without_extension(tmp_path: Path) -> None:
    """Modules that cannot be imported are as good as not installed."""
    code = (
        "import sys; sys.modules['triton'] = sys.modules['ttc_fast._C'] = None;"
        "import ttc_fast; print([b.reason for b in ttc_fast.backends() if b.name == 'native'][0]);"
        "from ttc_fast.cli.main import main; sys.exit(main(['run', '--prompts', '2', '--samples', '4']))"
    )
    out = python(code, tmp_path)
    assert "the C++ extension is not built" in out
    assert "samples, 32 steps" in out


def test_runs_without_the_optional_packages(tmp_path: Path) -> None:
    """A plain install computes and saves; what needs more says how to get it."""
    code = """
        import sys

        class Hiding:
            def __init__(self, finder):
                self.finder = finder

            def find_spec(self, name, *rest):
                hidden = name.partition(".")[0] in ("pandas", "xarray", "matplotlib")
                return None if hidden else self.finder.find_spec(name, *rest)

            def __getattr__(self, name):
                return getattr(self.finder, name)

        sys.meta_path[:] = map(Hiding, sys.meta_path)
        import ttc_fast as tf
        table = tf.run(tf.RunConfig(prompts=2, samples=4, steps=(2,))).table
        table.save("table.parquet")
        assert (tf.Table.load("table.parquet").values == table.values).all()
        for needy in (table.to_pandas, table.to_xarray, lambda: tf.plot(table)):
            try:
                needy()
            except (ImportError, ValueError) as error:
                print(error)
    """
    said = python(textwrap.dedent(code), tmp_path).splitlines()
    assert len(said) == 3
    for line, name in zip(said, ("pandas", "xarray", "matplotlib")):
        assert name in line
        assert "pip install" in line


def test_every_package_is_listed() -> None:
    """Else it would not be in the wheel."""
    listed = re.search(r"\[tool.setuptools\]\npackages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    assert listed is not None
    folders = [path.parent.relative_to(ROOT) for path in (ROOT / "ttc_fast").rglob("*.py")]
    assert {".".join(folder.parts) for folder in folders} | {"ttc_fast.kernels"} == set(
        re.findall(r'"([\w.]+)"', listed[1])
    )


def built_on(system: str, machine: str, unknown: tuple[str, ...] = ()) -> tuple[list[str], list[str]]:
    """Instruction sets that setup.py compiles the kernel for, and that the extension is told of; what setup() is given
    must be an extension but on Windows. A compiler records what it is asked."""
    kernels: list[str] = []

    class Compiler:
        def compile(self, sources: list[str], macros: list[tuple[str, None]], **_: object) -> list[str]:
            name = macros[0][0].removeprefix("TTC_FAST_ISA_")
            if name in unknown:
                raise CompileError
            kernels.append(name)
            return [f"{name}.o"]

    given: dict[str, Any] = {}
    helpers = ModuleType("pybind11.setup_helpers")  # it is there while the package is built only
    vars(helpers).update(build_ext=build_ext, Pybind11Extension=lambda *a, cxx_std, **more: Extension(*a, **more))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "pybind11.setup_helpers", helpers)
        patch.setattr(sys, "platform", system)
        patch.setattr(platform, "machine", lambda: machine)
        patch.setattr("setuptools.setup", lambda **arguments: given.update(arguments))
        patch.chdir(ROOT)
        runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")
        if not given["ext_modules"]:
            return [], []
        (extension,), command = given["ext_modules"], given["cmdclass"]["build_ext"](Distribution())
        command.compiler, command.build_temp = Compiler(), "build"
        patch.setattr(build_ext, "build_extension", lambda self, ext: None)
        command.build_extension(extension)
    assert extension.extra_objects == [f"{name}.o" for name in kernels]
    return kernels, [name.removeprefix("TTC_FAST_HAVE_") for name, _ in extension.define_macros if "HAVE" in name]


@pytest.mark.parametrize(
    ("system", "machine", "unknown", "built"),
    [
        ("linux", "x86_64", (), ["AVX512", "AVX2"]),
        ("linux", "x86_64", ("AVX512",), ["AVX2"]),
        ("linux", "aarch64", (), ["NEON"]),
        ("linux", "riscv64", (), []),
        ("darwin", "arm64", (), ["NEON"]),
        ("darwin", "x86_64", ("AVX512", "AVX2"), []),
        ("win32", "AMD64", (), []),
    ],
)
def test_what_is_compiled_where(system: str, machine: str, unknown: tuple[str, ...], built: list[str]) -> None:
    assert built_on(system, machine, unknown) == (built, built)


@pytest.mark.skipif(shutil.which("c++") is None or platform.machine() != "x86_64", reason="no compiler for x86-64")
def test_a_build_for_two_machines_compiles_neon_on_the_other_one(tmp_path: Path) -> None:
    """As universal2 of macOS does: the kernel is left out there, and nothing asks for it."""
    for name, macro in (("kernel", "TTC_FAST_ISA_NEON"), ("decode", "TTC_FAST_HAVE_NEON")):
        program = [
            "c++",
            "-std=c++17",
            f"-D{macro}",
            "-c",
            str(ROOT / "csrc" / f"{name}.cpp"),
            "-o",
            str(tmp_path / name),
        ]
        subprocess.run(program, check=True)
        symbols = subprocess.run(["nm", str(tmp_path / name)], capture_output=True, text=True, check=True).stdout
        assert "neon_kernel" not in symbols


@pytest.mark.slow
@pytest.mark.parametrize("compiler", [True, False])
def test_wheel(compiler: bool, tmp_path: Path) -> None:
    """The wheel holds the package, its kernels and, where there is a compiler, the extension."""
    if compiler and shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", "build", "*.so", "*.egg-info", "*cache*"))
    broken = {} if compiler else {"CC": "/bin/false", "CXX": "/bin/false"}
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(source)],
        env={**os.environ, **broken},
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"ttc_fast/run.py", "ttc_fast/py.typed", "ttc_fast/kernels/philox.py", "ttc_fast/theory/gaussian.py"} <= set(
        names
    )
    assert {name.split("/")[0] for name in names if "dist-info" not in name} == {"ttc_fast"}
    assert any(name.startswith("ttc_fast/_C.") for name in names) == compiler
