"""Bodies of PTX made into kernels that the simulator executes, for its tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptxsim import Sim

Array = NDArray[Any]
LANES = np.arange(32)
INF, NAN = np.inf, np.nan
ONES = 2**32 - 1

HEADER = """.version 8.6
.target sm_90a
.address_size 64
.extern .shared .align 16 .b8 smem[];
.visible .entry k({parameters}) .reqntid {threads}
{{
 .reg .pred %p<8>; .reg .b16 %h<16>; .reg .b32 %r<32>; .reg .b64 %d<16>;
 .reg .b32 %t, %g, %n; .reg .b64 %x; {declarations}
 mov.u32 %t, %tid.x;
 mov.u32 %n, %ntid.x;
 mov.u32 %g, %ctaid.x;
 mad.lo.u32 %g, %g, %n, %t;
"""
FOOTER = """
$stop:
 ret;
}
"""
SHARED_ADDRESS = "mul.lo.u32 %r9, %t, 4; mov.u32 %r8, smem; add.u32 %r9, %r9, %r8;"
"""%r8 becomes the start of shared memory, %r9 the thread's own word in it."""


def kernel(body: str, inputs: list[Array], outputs: list[str], threads: int) -> str:
    """Text of a kernel that loads %a, %b, ... by thread, runs the body and stores %o0, %o1, ... by global thread."""
    names = [f"in{i}" for i in range(len(inputs))] + [f"out{i}" for i in range(len(outputs))]
    declarations, before, after = "", "", ""
    for i, array in enumerate(inputs):
        size, register = array.itemsize, f"%{'abcef'[i]}"
        declarations += f".reg .b{8 * size} {register};"
        before += (
            f"ld.param.u64 %x, [in{i}]; mad.wide.u32 %x, %t, {size}, %x; ld.global.b{8 * size} {register}, [%x];\n"
        )
    for i, output in enumerate(outputs):
        size = np.dtype(output).itemsize
        declarations += f".reg .b{8 * size} %o{i};"
        after += f"ld.param.u64 %x, [out{i}]; mad.wide.u32 %x, %g, {size}, %x; st.global.b{8 * size} [%x], %o{i};\n"
    parameters = ", ".join(f".param .u64 {name}" for name in names)
    return (
        HEADER.format(parameters=parameters, threads=threads, declarations=declarations)
        + before
        + body
        + after
        + FOOTER
    )


def simulate(
    body: str, *inputs: Any, outputs: str = "", threads: int = 32, grid: int = 1, shared: int = 0, **options: Any
) -> tuple[Sim, list[Array]]:
    arrays = [np.resize(np.asarray(x), threads) for x in inputs]
    kinds = outputs.split()
    results = [np.zeros(threads * grid, kind) for kind in kinds]
    sim = Sim(kernel(body, arrays, kinds, threads), (grid,), shared, [*arrays, *results], **options)
    return sim.run(), results


def execute(body: str, *inputs: Any, out: str = "u4", **options: Any) -> Array:
    """The first output, for as many lanes as the first input has."""
    result: Array = simulate(body, *inputs, outputs=out, **options)[1][0]
    return result[: np.size(inputs[0])] if inputs else result


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def u32(*values: int) -> Array:
    return np.array([v & ONES for v in values], np.uint32)


def u64(*values: int) -> Array:
    return np.array([v & (2**64 - 1) for v in values], np.uint64)


def same(got: Array, expected: Any) -> None:
    """Equal bit by bit, any NaN equal to any other."""
    expected = np.asarray(expected, got.dtype)
    nan = np.isnan(got) & np.isnan(expected) if got.dtype.kind == "f" else np.zeros(got.shape, bool)
    unsigned = f"u{got.itemsize}"
    words = [np.ascontiguousarray(x).view(unsigned) for x in (got, np.broadcast_to(expected, got.shape))]
    assert (nan | (words[0] == words[1])).all(), (got, expected)
