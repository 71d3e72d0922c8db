"""Machine code counted by hand, bounds by hand, and what ``ttc_fast.kernels.inspect`` says of the kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ttc_fast.kernels import roofline, sass, versions
from ttc_fast.kernels.roofline import Gpu, Mix

LISTING = """
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/               @P0 BRA `(.L_x_9) ;
.L_x_4:
        /*0020*/              @!P0 IADD3 R3, R3, -UR5, RZ ;
.L_x_3:
        /*0030*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0040*/             @!UP1 UIADD3 UR4, UP0, UR4, 0x1f, URZ ;
        /*0050*/                   HMMA.16816.F32.BF16 R20, R32, R48, R12 ;
        /*0060*/                   NOP ;
        /*0070*/               @P6 BRA `(.L_x_5) ;
        /*0080*/                   MUFU.EX2 R3, R4 ;
.L_x_5:
        /*0090*/                   BRA.U UP0, `(.L_x_3) ;
        /*00a0*/                   STG.E.64 desc[UR4][R2.64], R4 ;
        /*00b0*/               @P0 BRA `(.L_x_4) ;
.L_x_9:
        /*00c0*/                   EXIT ;
.L_x_6:
        /*00d0*/                   BRA `(.L_x_6);
"""


def test_parse() -> None:
    instructions, labels = sass.parse(LISTING)
    assert [i.opcode for i in instructions[:4]] == ["LDC", "BRA", "IADD3", "BAR.SYNC.DEFER_BLOCKING"]
    assert len(instructions) == 14
    assert labels == {".L_x_4": 2, ".L_x_3": 3, ".L_x_5": 9, ".L_x_9": 12, ".L_x_6": 13}
    assert [i.target for i in instructions if i.opcode.startswith("BRA")] == [
        ".L_x_9", ".L_x_5", ".L_x_3", ".L_x_4", ".L_x_6",
    ]  # fmt: skip


def test_loops() -> None:
    """Predicated lines and NOPs are kept, forward branches and the one to itself are no loops."""
    assert sass.loops(*sass.parse(LISTING)) == [(2, 11), (3, 9)]
    outer, inner = sass.nest(LISTING)
    assert outer == ["IADD3", "STG.E.64", "BRA"]
    assert inner == ["BAR.SYNC.DEFER_BLOCKING", "UIADD3", "HMMA.16816.F32.BF16", "NOP", "BRA", "MUFU.EX2", "BRA.U"]
    assert sass.hot_loop(LISTING) == inner


def test_around_the_hot_loop() -> None:
    """IADD3, STG and the branch back, of which none is skipped; then a branch over three instructions."""
    assert sass.around_the_hot_loop(LISTING) == (3, 0)
    store = "/*00a0*/                   STG.E.64"
    skip = f"        /*0098*/               @P0 BRA `(.L_x_7) ;\n        {store} [R2] ;\n        /*0099*/  NOP ;\n"
    text = LISTING.replace(f"        {store}", f"{skip}        {store}").replace(
        "        /*00b0*/", ".L_x_7:\n        /*00b0*/"
    )
    assert sass.around_the_hot_loop(text) == (3, 2)


def test_a_loop_before_the_steps() -> None:
    ahead = ".L_x_0:\n        /*0000*/ FADD ;\n        /*0001*/ BRA `(.L_x_0) ;\n"
    assert sass.nest(ahead + LISTING) == sass.nest(LISTING)
    assert sass.nest(ahead) == [["FADD", "BRA"]]
    around = f".L_x_7:\n{ahead}        /*0001*/ BRA `(.L_x_7) ;\n"
    assert sass.nest(around + LISTING) == sass.nest(LISTING)


def test_loops_that_are_not_nested() -> None:
    two = "".join(f".L_x_{k}:\n/*0000*/ FADD ;\n/*0000*/ BRA `(.L_x_{k}) ;\n" for k in (1, 2))
    for text in ("", "/*0000*/ NOP ;", f".L_x_0:\n/*0000*/ NOP ;\n{two}/*0000*/ BRA `(.L_x_0) ;\n"):
        with pytest.raises(ValueError, match="assembly: expected loops one inside the other"):
            sass.nest(text)


def test_loops_of_the_steps() -> None:
    """Two loops in the second of three nested ones, and one after that, which does not count."""
    names = "IADD3 FADD FMUL FFMA LOP3 SEL SHFL MOV"
    a, b, c, d, e, f, g, h = names.split()
    lines = [
        ".L_x_1:", a, ".L_x_2:", b, ".L_x_3:", c, "BRA `(.L_x_3)", ".L_x_4:", d, "BRA `(.L_x_4)", e, ".L_x_5:", f,
        "BRA `(.L_x_5)", "BRA `(.L_x_2)", ".L_x_6:", g, "BRA `(.L_x_6)", h, "BRA `(.L_x_1)",
    ]  # fmt: skip
    text = "\n".join(x if x.startswith(".L") else f"/*0000*/ {x} ;" for x in lines)
    assert sass.nest_with_rounds(text, 3) == ([[a, h, "BRA"], [b, e, "BRA"], [c, "BRA"]], [d, "BRA", f, "BRA"])
    assert sass.nest_with_rounds(text, 2) == ([[a, h, "BRA"], [b, e, "BRA"]], [c, "BRA", d, "BRA", f, "BRA"])
    with pytest.raises(ValueError, match="assembly: expected 4 loops one inside the other"):
        sass.nest_with_rounds(text, 4)


@pytest.mark.parametrize(
    ("opcode", "pipe"),
    [
        ("FFMA", "fma"), ("FADD2", "fma"), ("IMAD.MOV.U32", "imad"), ("IMAD.WIDE.U32", "wide"), ("IMAD.HI.U32", "wide"),
        ("UIMAD.WIDE.U32", "uniform"), ("LOP3.LUT", "alu"), ("I2FP.F32.S32", "alu"), ("I2F.U32", "xu"),
        ("HGMMA.64x16x16.F32", "tensor"), ("WARPGROUP.ARRIVE", "control"),
        ("MUFU.LG2", "xu"), ("HMMA.1688.F32.TF32", "tensor"), ("LDSM.16.M88.4", "lsu"), ("LDL.LU", "lsu"),
        ("SHFL.BFLY", "shuffle"), ("R2UR", "uniform"), ("BAR.SYNC.DEFER_BLOCKING", "control"), ("WGMMA", "other"),
    ],
)  # fmt: skip
def test_pipe(opcode: str, pipe: str) -> None:
    assert sass.pipe(opcode) == pipe


def test_sizes_of_instructions() -> None:
    names = ("LDSM.16.M88.4", "LDSM.16.MT88.2", "STSM.16.M88", "LDS.128", "LDS.64", "LDS", "LDG.E.128", "STS.U16")
    assert [sass.wavefronts(name) for name in names] == [4, 2, 1, 4, 2, 1, 4, 1]
    assert [sass.float_lanes(name) for name in ("FFMA", "FFMA2", "FADD2.F32")] == [1, 2, 2]
    shapes = {"HMMA.16816.F32.BF16": 2048, "HMMA.1688.F32.TF32": 2048, "HMMA.1684.F32.TF32": 1024}
    shapes |= {"HGMMA.64x16x16.F32.BF16": 4096, "HGMMA.64x64x16.F32": 16384, "HGMMA.64x32x8.F32.TF32": 8192}
    assert {name: sass.tensor_products(name) for name in shapes} == shapes
    with pytest.raises(ValueError, match="opcode: expected HMMA"):
        sass.tensor_products("HMMA.F16")


A100 = Gpu("A100", "sm_80", sms=100, gigahertz=1.0, terabytes=2.0, l2_megabytes=1, fma=64, tensor=1024, mma_sync=1.0)
H100 = A100._replace(fma=128, tensor=2048, mma_sync=0.5)
TOY = Mix({"fma": 8, "wide": 4, "alu": 10, "xu": 2, "tensor": 3, "lsu": 5}, 8.0, 16.0, 192.0)


def test_bounds_by_hand() -> None:
    """32 instructions; products that are wide take two slots of 64 lanes at 32 lanes a clock."""
    assert roofline.cycles(TOY, A100) == {
        "issue": 32 / 128, "fma": (8 + 8) / 64, "alu": 10 / 64, "xu": 2 / 16, "lsu": 16 / 32, "shuffle": 0.0,
        "tensor": 192 / 1024, "memory": 0.0,
    }  # fmt: skip
    assert roofline.cycles(TOY, H100)["fma"] == (8 + 8) / 128  # both halves
    assert roofline.cycles(TOY, H100, wide=16)["fma"] == 16 / 64  # the half with integers
    assert roofline.cycles(TOY, H100, tensor_share=0.5)["tensor"] == 192 / 1024
    assert roofline.bound(TOY, A100) == (100e9 / 0.5, "lsu", 100e9 / 0.5, 100e9 / 0.5)
    assert roofline.cycles(TOY._replace(bytes=40.0), A100)["memory"] == 40 * 100e9 / 2e12
    lean = TOY._replace(wavefronts=0.0)
    assert roofline.bound(lean, A100) == (100e9 / 0.25, "issue", 100e9 / 0.375, 100e9 / 0.25)


def test_eager_bound_by_hand() -> None:
    """24 bytes at 2 TB/s; the product of 640 multiply-adds takes longer than its 8 bytes."""
    assert roofline.eager_bound("gaussian", A100, 0) == pytest.approx(2e12 / 24)
    assert roofline.eager_bound("gaussian", A100, 640) == pytest.approx(1 / (640 / (100 * 64 * 1e9) + 16 / 2e12))
    assert roofline.eager_bound("last_step", A100, 1) == pytest.approx(2e12 / 8)


def test_lower_bound_by_hand() -> None:
    """Philox 8, Box-Muller 5, noise 1, split 3, and 3 products, an instruction for 8 or for 64 / 16 coefficients."""
    gaussian = roofline.lower_bound({"RULE": "gaussian", "EVERY_STEP": True}, 16, "fp32", "sm_90")
    assert gaussian.instructions == 8 + 5 + 1 + 3 + 3 / 8
    assert gaussian.tensor_products == 3 * 16
    older = roofline.lower_bound({"RULE": "gaussian", "EVERY_STEP": True}, 16, "fp32", "sm_80")
    assert older.instructions == 8 + 5 + 1 + 3 + 3 / 4
    asked = roofline.lower_bound({"RULE": "gaussian", "EVERY_STEP": True}, 16, "fp32", "sm_90", asked=0.5)
    assert (asked.instructions, asked.bytes) == (gaussian.instructions + 1 / 8, 2.0)
    bernoulli = roofline.lower_bound({"RULE": "sigmoid", "EVERY_STEP": True}, 128, "fp32", "sm_80")
    assert bernoulli.instructions == 8 + 2 + 4 + 0.5 + 4
    assert bernoulli.pipes["xu"] == 2  # exp2 and, on this architecture, the conversion
    with_ones = {"RULE": "subset", "EVERY_STEP": True, "ONES": 5}
    assert roofline.lower_bound(with_ones, 16, "fp32", "sm_90").instructions == 8 + 1 + 4 + 4 + 5 + 1 / 2 + 2 / 8
    for rule in ("rank_one", "elementwise"):
        more = roofline.lower_bound({"RULE": rule, "EVERY_STEP": True}, 16, "fp32", "sm_90")
        assert more.instructions == gaussian.instructions + 1
    answers_only = roofline.lower_bound({"RULE": "sigmoid", "EVERY_STEP": False}, 32, "ieee", "sm_90")
    assert answers_only.instructions == 32
    one_product = roofline.lower_bound({"RULE": "sigmoid", "EVERY_STEP": False}, 32, "tf32", "sm_80")
    assert (one_product.instructions, one_product.tensor_products) == (1, 64)


@pytest.mark.parametrize(
    ("arch", "warps", "registers", "shared", "resident"),
    [
        ("sm_80", 2, 128, 3584, 16),  # 4096 registers a warp, 4 warps in each part
        ("sm_90", 4, 168, 30720, 12),  # 5376: 3
        ("sm_80", 8, 255, 1000, 8),  # rounded to 256: 2
        ("sm_90", 8, 64, 110592, 16),  # (108 + 1) KiB: two programs in 228
        ("sm_120", 8, 32, 0, 48),  # the most
        ("sm_86", 1, 16, 0, 16),  # the most programs
        ("sm_90", 8, 32, 240 * 1024, 0),  # does not fit
    ],
)
def test_resident_warps(arch: str, warps: int, registers: int, shared: int, resident: int) -> None:
    assert roofline.resident_warps(arch, warps, registers, shared) == resident


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "ttc_fast.kernels.inspect", *arguments]
    return subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arch", "sm_70"], "--arch: invalid choice: 'sm_70' (choose from 'sm_80'"),
        (["--rule", "uniform"], "--rule: invalid choice: 'uniform' (choose from 'gaussian'"),
        (["--precision", "fp16"], "--precision: invalid choice: 'fp16' (choose from 'fp32'"),
        (["--dim", "0"], "--dim: expected an integer from 1 to 256, got '0'"),
        (["--dim", "four"], "--dim: expected an integer from 1 to 256, got 'four'"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    from ttc_fast.kernels.inspect import main

    with pytest.raises(SystemExit) as stop:
        main(arguments)
    # Python 3.12.8 and later name choices without quotes
    error = capsys.readouterr().err.replace("'", "")
    assert (stop.value.code, message.replace("'", "") in error) == (2, True), error


def test_wrong_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("triton")
    from ttc_fast.kernels.inspect import main

    assert main(["--json", str(tmp_path / "none" / "x.json")]) == 2
    assert "--json: expected a file in an existing folder" in capsys.readouterr().err


def test_without_triton() -> None:
    code = "import sys; sys.modules['triton'] = None; from ttc_fast.kernels.inspect import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "Triton" in done.stderr


def test_interpreter_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("triton")
    from ttc_fast.kernels.inspect import main

    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert main([]) == 2
    assert "TRITON_INTERPRET" in capsys.readouterr().err


def test_names_agree_with_the_kernels() -> None:
    pytest.importorskip("triton")
    from ttc_fast.kernels import compiled, inspect

    assert set(inspect.ARCHS) == set(compiled.SHARED_MEMORY)
    assert tuple(compiled.CONSTANTS) == inspect.RULES
    for arguments, name in (
        (("sm_70", "gaussian", 16), "arch"), (("sm_80", "x", 16), "rule"), (("sm_80", "clip", 257), "dim"),
        (("sm_80", "clip", 16, "fp8"), "precision"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"^{name}: expected"):
            inspect.inspect(*arguments)


def test_command(tmp_path: Path) -> None:
    """Tables that fit 120 columns, and the JSON that others read."""
    pytest.importorskip("triton")
    file = tmp_path / "found.json"
    done = command("--arch", "sm_90", "gfx942", "--rule", "bernoulli", "--dim", "5", "--json", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 120
    assert "H100 (132 SMs" in done.stdout
    nvidia, amd = json.loads(file.read_text())
    asked = {"arch": "sm_90", "rule": "bernoulli", "dim": 5, "precision": "fp32"}
    assert nvidia.items() >= {**asked, "local_memory": 0}.items()
    assert nvidia["stack_bytes"] <= 320
    assert 15 < nvidia["instructions_per_step"] <= 30
    assert sum(nvidia["pipes"].values()) == pytest.approx(nvidia["instructions_per_step"])
    assert {"registers", "shared_bytes", "resident_warps", "lower_bound", "tensor_instructions"} <= nvidia.keys()
    assert set(nvidia["gpus"]) == {"H100", "H200"}
    on = nvidia["gpus"]["H100"]
    assert on["expected"][0] < on["expected"][1] < on["bound"] < on["mathematics"]
    assert nvidia["instructions_per_step"] < nvidia["default_run"] < 1.25 * nvidia["instructions_per_step"]
    assert amd["instructions_per_step"] is None
    assert amd["registers"] > 0


LIMITS: dict[str, dict[int, float]] = {
    "gaussian": {16: 27, 32: 31, 64: 35, 128: 43},
    "bernoulli": {16: 17.5, 32: 19, 64: 20.5, 128: 23},
    "rank_one": {16: 31, 32: 37, 64: 41, 128: 50},
    "elementwise": {16: 28, 32: 32, 64: 36, 128: 44},
    "subset": {16: 75, 32: 97, 64: 103, 128: 111},
}
"""Instructions per coefficient-step that the kernels promise to stay below; subsets of 5."""
WHOLE_ROWS: dict[str, dict[int, float]] = {
    "gaussian": {16: 27, 32: 26.5},
    "bernoulli": {16: 17.5},
    "rank_one": {16: 31, 32: 31, 64: 31},
    "elementwise": {16: 28, 32: 27.5},
    "subset": {16: 75, 32: 69, 64: 66},
}
"""The same where a warp of sm_90 owns whole rows."""
PARTS = {"gaussian": 6, "bernoulli": 2, "rank_one": 6, "elementwise": 6, "subset": 2}
"""Products of bfloat16 and of float16 that make one of float32."""


def _promised(arch: str, rule: str, dim: int) -> None:
    from ttc_fast.kernels.inspect import inspect

    found = inspect(arch, rule, dim)
    rows = WHOLE_ROWS[rule].get(dim) if arch == "sm_90" else None
    assert found["samples"] == (64 if rows else 32 if dim == 16 else 16)
    more = 1.4 if versions.version().startswith("3.5") else 1  # it computes the words of bits in two layouts
    least = found["lower_bound"]["instructions_per_step"]
    assert least < found["instructions_per_step"] <= (rows or LIMITS[rule][dim]) * more
    assert found["local_memory"] <= (80 if rows and dim > 16 else 0)  # of 1,000 to 3,700 and more
    assert found["barriers_per_step"] <= (0.25 if rows else 18)
    assert found["pipes"].get("other", 0) == 0  # every instruction's pipe is known
    # Every multiply-add is there once: this confirms how often each loop runs.
    assert found["pipes"]["tensor"] == PARTS[rule] * (1 / 8 if rows else dim / 64)


@pytest.mark.parametrize("rule", ["gaussian", "bernoulli"])
def test_promised_figures_at_16(rule: str) -> None:
    pytest.importorskip("triton")
    _promised("sm_90", rule, 16)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [16, 32, 64, 128])
@pytest.mark.parametrize("rule", list(LIMITS))
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_promised_figures(arch: str, rule: str, dim: int) -> None:
    pytest.importorskip("triton")
    _promised(arch, rule, dim)


@pytest.mark.parametrize(("arch", "dim"), [("sm_90", 256), pytest.param("sm_89", 128, marks=pytest.mark.slow)])
def test_streamed_kernels_are_counted_whole(arch: str, dim: int) -> None:
    """Trips in a block of four steps: 4 steps, the draws of a block, 4 d / 32 slices. Two products of bits."""
    pytest.importorskip("triton")
    from ttc_fast.kernels.inspect import inspect

    found = inspect(arch, "bernoulli", dim)
    assert [times for times, _ in found["loops"]] == [4, 1, 4 * dim // 32]
    assert found["pipes"]["tensor"] == 2 * dim / 64
    assert found["pipes"]["wide"] > 15 / 4
