"""The kernels as machine code of GPUs that need not be there: no GPU, driver or CUDA is used.

Triton's own wheel brings the assembler and the disassembler of NVIDIA; AMD's is part of its compiler.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia.compiler import get_ptxas
from triton.compiler import ASTSource

from . import padded
from .attention import attention_kernel
from .attention_decode import TILES, constants_of
from .chain import decode_kernel
from .decode import Launch, constants, of_decode, options
from .tiles import tile

SHARED_MEMORY = {
    "sm_80": 163 * 1024,
    "sm_86": 99 * 1024,
    "sm_89": 99 * 1024,
    "sm_90": 227 * 1024,
    "sm_100": 227 * 1024,
    "sm_120": 99 * 1024,
    "gfx942": 64 * 1024,
    "gfx950": 64 * 1024,
}
"""Bytes of shared memory a program may use: CUDA C++ Programming Guide, table of technical
specifications per compute capability; AMD CDNA 3 ISA, LDS, of which
CDNA 4 has 160 KB: left alone, as tiles that use it spill."""

CONSTANTS: dict[str, dict[str, Any]] = {
    "gaussian": {"RULE": "gaussian", "EVERY_STEP": True, "ONES": 0},
    "bernoulli": {"RULE": "sigmoid", "EVERY_STEP": True, "ONES": 0},
    "clip": {"RULE": "clip", "EVERY_STEP": True, "ONES": 0},
    "threshold": {"RULE": "threshold", "EVERY_STEP": True, "ONES": 0},
    "last_step": {"RULE": "sigmoid", "EVERY_STEP": False, "ONES": 0},
    "rank_one": {"RULE": "rank_one", "EVERY_STEP": True, "ONES": 0},
    "elementwise": {"RULE": "elementwise", "EVERY_STEP": True, "ONES": 0},
    "subset": {"RULE": "subset", "EVERY_STEP": True, "ONES": 5},
}
"""Rules by the names used here, and the constants they are compiled with."""


class Compiled(NamedTuple):
    """A kernel for one architecture."""

    arch: str
    samples: int
    """Of one program."""
    warps: int
    streamed: bool
    shared_bytes: int
    registers: int
    """Per thread."""
    stack_bytes: int
    spill_bytes: int
    """Stored to and loaded from the stack, per thread."""
    ptx: str
    """Empty for AMD."""
    assembly: str


def gpu(arch: str) -> GPUTarget:
    """Triton's name of an architecture such as ``"sm_90"`` or ``"gfx942"``."""
    if arch not in SHARED_MEMORY:
        raise ValueError(f"arch: expected one of {', '.join(SHARED_MEMORY)}, got {arch!r}")
    return GPUTarget("hip", arch, 64) if arch.startswith("gfx") else GPUTarget("cuda", int(arch[3:]), 32)


class Source(NamedTuple):
    """What Triton compiles."""

    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    options: dict[str, Any]


def decode_source(arch: str, rule: str, dim: int, precision: str = "fp32") -> Source:
    """The kernel that a decode of ``dim`` coefficients launches on such a GPU; ``rule`` is a key of CONSTANTS."""
    backend = gpu(arch).backend
    chosen = tile(dim, arch, SHARED_MEMORY[arch], precision, CONSTANTS[rule]["RULE"])
    given = constants(CONSTANTS[rule], precision, backend, dim, chosen) | of_decode(dim, chosen)
    signature = {p.name: argument_type(p) for p in decode_kernel.params}
    return Source(decode_kernel, signature, given, options(chosen, backend))


def launch_source(launch: Launch) -> Source:
    """The kernel of a launch."""
    signature = {p.name: argument_type(p, launch.arguments.get(p.name)) for p in launch.kernel.params}
    return Source(launch.kernel, signature, launch.constants, launch.options)


def translate(arch: str, source: Source) -> Any:
    """Triton's machine code of a kernel; it keeps it in its cache."""
    kernel, signature, given, options = source
    # As a launch gives them, or it would look for another name in the cache: nothing is known of an argument's value.
    attributes: dict[tuple[int], list[Any]] = {(p.num,): [] for p in kernel.params if p.is_constexpr}
    described = ASTSource(fn=kernel, signature=signature, constexprs=given, attrs=attributes)
    return triton.compile(described, target=gpu(arch), options=options)


def compile_decode(arch: str, rule: str, dim: int, precision: str = "fp32") -> Compiled:
    """See :func:`decode_source`."""
    return examined(arch, decode_source(arch, rule, dim, precision))


def compile_attention(
    arch: str, rule: str, dim: int, activations: Sequence[str] = ("softmax",), precision: str = "fp32"
) -> Compiled:
    """The kernel that a decode of an attention state without A launches on such a GPU.

    Args:
        arch, rule, dim, precision: as of :func:`compile_decode`, up to 128 coefficients.
        activations: of the groups of heads.
    """
    chosen = TILES[padded(dim)]
    known = constants(CONSTANTS[rule], precision, gpu(arch).backend, dim, chosen)
    given = {**known, **constants_of(activations, True, dim)}
    signature = {p.name: argument_type(p) for p in attention_kernel.params}
    return examined(arch, Source(attention_kernel, signature, given, options(chosen, gpu(arch).backend)))


def compile_launch(arch: str, launch: Launch) -> Compiled:
    """The kernel of a launch that was prepared for such a GPU."""
    return examined(arch, launch_source(launch))


def examined(arch: str, source: Source) -> Compiled:
    """A kernel's machine code, with what the assembler says of it."""
    kernel, (_, _, given, options) = translate(arch, source), source
    about = arch, given.get("BN", 0), options["num_warps"], given.get("STREAMED", False), kernel.metadata.shared
    if arch.startswith("gfx"):
        assembly = kernel.asm["amdgcn"]
        registers, stack, spills = (
            _number(rf"\.{key}:\s*(\d+)", assembly)
            for key in ("vgpr_count", "private_segment_fixed_size", "vgpr_spill_count")
        )
        return Compiled(*about, registers, stack, 4 * spills, "", assembly)
    ptx = kernel.asm["ptx"]
    log = _tool(
        "ptxas",
        arch,
        ptx.encode(),
        "-v",
        "--regAllocOptLevel=2",
        *([] if options["enable_fp_fusion"] else ["--fmad=false"]),
        f"--gpu-name={_assembler_name(arch)}",
        "-o",
        "/dev/null",
    )
    return Compiled(
        *about,
        registers=_number(r"Used (\d+) registers", log),
        stack_bytes=_number(r"(\d+) bytes stack frame", log),
        spill_bytes=_number(r"(\d+) bytes spill stores", log) + _number(r"(\d+) bytes spill loads", log),
        ptx=ptx,
        assembly=_tool("nvdisasm", arch, kernel.asm["cubin"], "-c"),
    )


POINTERS = {
    torch.float32: "*fp32", torch.float64: "*fp64", torch.int16: "*i16", torch.int32: "*i32", torch.int64: "*i64",
}  # fmt: skip
_NAMED = {"stops": "*i32", "groups": "*i32", "keys": "*i16", "values": "*i16"}
"""Pointers of the decode kernels that are not to float32."""


def argument_type(parameter: Any, value: Any = None) -> str:
    """Triton's name of the type of a kernel's parameter; without a value, that of a decode kernel."""
    if parameter.is_constexpr:
        return "constexpr"
    if isinstance(value, torch.Tensor):
        return POINTERS[value.dtype]
    return str(parameter.annotation_type) or _NAMED.get(parameter.name, "*fp32")


def _assembler_name(arch: str) -> str:
    return arch + ("a" if int(arch[3:]) >= 90 else "")  # what Triton asks for, too


def _tool(name: str, arch: str, binary: bytes, *arguments: str) -> str:
    """Output and log of one of the programs in Triton's wheel, run on a file."""
    if name == "ptxas":  # the wheels have had two since Triton 3.6
        program = get_ptxas(*[int(arch[3:])][: len(inspect.signature(get_ptxas).parameters)]).path
    else:
        program = Path(knobs.nvidia.cuobjdump.path).with_name(name)
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(binary)
        run = subprocess.run([program, *arguments, file.name], capture_output=True, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{name} failed on the kernel for {arch}: {run.stderr.strip()}")
    return run.stdout + run.stderr


def _number(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    return int(match.group(1)) if match else 0
