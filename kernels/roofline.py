"""What bounds the decode on a GPU: the rates of its pipes, and the least work that the mathematics asks for.

Everything is per coefficient-step and per thread: a mix of 32 instructions of a warp that advances 32
coefficients by one step is a mix of one. A bound takes the busiest of issue slots and pipes as perfectly
busy; it leaves out latency, dependencies, barriers and bank conflicts, so that no run can be faster.
README.md holds timings on a GPU against them, which ``bench/gpu.py`` makes.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Gpu(NamedTuple):
    """One product: the rates of its multiprocessors (SM), their number and their clock."""

    name: str
    arch: str
    sms: int
    gigahertz: float
    """Highest clock; a loaded GPU may run below it."""
    terabytes: float
    """Of device memory, per second."""
    l2_megabytes: float
    fma: int
    """Lanes per clock and SM of fused multiply-adds in float32."""
    tensor: int
    """Dense fused multiply-adds of bfloat16 per clock and SM."""
    mma_sync: float
    """Share of ``tensor`` that mma.sync is known to reach; not part of a bound."""


GPUS = (
    Gpu("A100", "sm_80", 108, 1.410, 2.039, 40, fma=64, tensor=1024, mma_sync=1.0),
    Gpu("H100", "sm_90", 132, 1.980, 3.35, 50, fma=128, tensor=2048, mma_sync=0.6),
    Gpu("H200", "sm_90", 132, 1.980, 4.8, 50, fma=128, tensor=2048, mma_sync=0.6),
    Gpu("B200", "sm_100", 148, 1.965, 8.0, 126, fma=128, tensor=4096, mma_sync=0.25),
)
"""The SXM products, A100 with 80 GB.

Sources. SMs, clocks, lanes of fma and tensor: OpenXLA, ``cuda_core_info_table.cc``, which quotes NVIDIA's
architecture papers; clock and SMs of A100: its datasheet. The dense bfloat16 peaks are 312, 990 (at 1.83 GHz
under that load) and 2,250 TFLOPS, datasheets. Memory: datasheets; the driver of a B200 reports 7.67 TB/s
(pytorch/ao, pull request 4002). L2: datasheets, and the same pull request. ``mma_sync``: A100 has no
other way to its tensor cores; H100 about 0.6 of its peak (arXiv 2402.13499); B200 is not published:
FlashAttention 2, which is mma.sync, reaches 381 TFLOPS there (flash-attention, issue 1589) and 70 % of the
peak of an A100, so that 0.25 of the peak is assumed.
"""

LANES = {"alu": 64, "xu": 16, "lsu": 32, "shuffle": 32}
"""Lanes per clock and SM of the other pipes on all of GPUS.

alu (logic, shift, integer add, compare, select) and shuffle: CUDA C++ Best Practices Guide, table of the
throughput of native arithmetic instructions. xu (special functions, conversions): the same; unchanged on
Hopper and Blackwell according to the FlashAttention-4 publication. lsu: 128 bytes a clock of shared memory.
"""

ISSUE = 128
"""Lanes per clock and SM that can be issued: four schedulers, one instruction of a warp each."""

IMAD = 64
"""Lanes per clock and SM of 32-bit integer multiply-adds: the same table. On sm_80 they share the pipe of
float32; from sm_90 on they run on one half of it."""

WIDE = (16, 32, 64)
"""Lanes per clock and SM of the multiplication 32 x 32 -> 64, low, likely and high: not in NVIDIA's table.

A published timing of Philox on an H20 (FlagGems, pull request 5646: 597 G words a second; 78 SMs) is faster
than 16 would allow (520), which excludes 16; it is shown all the same.
"""


WHOLE_PRODUCTS = ("sm_90", "sm_100")
"""Architectures whose tensor cores multiply 64 rows by a whole matrix with one instruction (wgmma, tcgen05)."""


class Mix(NamedTuple):
    """Work of one coefficient-step."""

    pipes: dict[str, float]
    """Instructions by pipe (names as in ``sass.PIPES``, "wide" besides), NOPs left out."""
    float_lanes: float = 0.0
    """Float32 results; more than instructions where one packs two."""
    wavefronts: float = 0.0
    """Passes of the load-store unit."""
    tensor_products: float = 0.0
    """Fused multiply-adds of bfloat16 on tensor cores; those of tf32 count twice."""
    bytes: float = 0.0
    """Written to device memory."""

    @property
    def instructions(self) -> float:
        return sum(self.pipes.values())


def cycles(mix: Mix, gpu: Gpu, wide: int = WIDE[1], tensor_share: float = 1.0) -> dict[str, float]:
    """Clocks of one SM that each resource is busy with a coefficient-step; the largest bounds the speed."""
    count = mix.pipes.get
    integer = (count("imad", 0.0) + count("wide", 0.0) * IMAD / wide) / IMAD
    halves = gpu.fma / IMAD  # of the pipe of float32, of which integers use one
    return {
        "issue": mix.instructions / ISSUE,
        "fma": max(integer, (mix.float_lanes / IMAD + integer) / halves),
        "alu": count("alu", 0.0) / LANES["alu"],
        "xu": count("xu", 0.0) / LANES["xu"],
        "lsu": mix.wavefronts / LANES["lsu"],
        "shuffle": count("shuffle", 0.0) / LANES["shuffle"],
        "tensor": mix.tensor_products / (gpu.tensor * tensor_share),
        "memory": mix.bytes * gpu.sms * gpu.gigahertz / (1000 * gpu.terabytes),
    }


class Bound(NamedTuple):
    """Coefficient-steps per second that no run can exceed."""

    rate: float
    resource: str
    """The busiest resource."""
    low: float
    """With the low rate of wide multiplications, WIDE."""
    high: float


def bound(mix: Mix, gpu: Gpu, tensor_share: float = 1.0) -> Bound:
    """The bound on one GPU, with the range that the rate of wide multiplications leaves open."""
    low, (rate, resource), high = (_rate(cycles(mix, gpu, wide, tensor_share), gpu) for wide in WIDE)
    return Bound(rate, resource, low[0], high[0])


def _rate(clocks: dict[str, float], gpu: Gpu) -> tuple[float, str]:
    resource = max(clocks, key=clocks.__getitem__)
    return gpu.sms * gpu.gigahertz * 1e9 / clocks[resource], resource


def lower_bound(constants: dict[str, Any], dim: int, precision: str, arch: str, asked: float = 0.0) -> Mix:
    """The least work of a coefficient-step that computes the rule by these methods on ``dim`` padded coefficients, of
    whose thoughts the share ``asked`` is written.

    Philox4x32-10, a call for four steps: 20 wide multiplications and 20 three-input xors, less those
    that are the same for all steps (round 1: both products, one word), for all coefficients or for all
    samples (round 1: the other word; round 2: both products, one word; round 3: one product), which a
    large tile shares: 15 and 17 are left.

    Gaussian: Box-Muller gives two normals for 2 conversions, 1 multiply-add (the uniform), log2,
    square root, angle, cosine, sine, 2 products; then a multiply-add of sigma_t and the normal onto u.
    Element-wise: sigma_t times the thought besides. Rank-one: a multiply-add of the inner product besides.
    Bernoulli: shift and conversion (the uniform); multiply-add, exp2, multiply-add and a compare that
    gives 0 or 1. Clip: product and compare. Threshold: compare.
    Subset: conversion, multiply-add (the uniform), log2, its scale; two bounds and the inverse of u, product; for each
    of the k rounds a minimum, then a compare that gives 0 or 1.

    Matrix product "fp32": for real thoughts 3 products of float16, and 3 instructions to cut a thought in two (a
    conversion of two at once, back, a subtraction, a conversion of two; README.md says why the kernel makes 6 of
    bfloat16); for binary ones 2 products of float16 and one half. "tf32": one product. "ieee": d multiply-adds.
    An asked thought: 4 bytes, a quarter of a store. Exchange between lanes, loads, copies and the loop itself are
    not counted: a better tile could do without them.
    """
    rule, every_step = constants["RULE"], constants["EVERY_STEP"]
    random = every_step and rule != "threshold"
    convert = "xu" if arch == "sm_80" else "alu"  # where the machine code has I2F and I2FP
    pipes = dict.fromkeys(("wide", "alu", "xu", "fma", "tensor"), 0.0)
    if random:
        pipes["wide"] += 15 / 4
        pipes["alu"] += 17 / 4
        pipes[convert] += 1
    continuous = rule in ("gaussian", "rank_one", "elementwise")
    if continuous:
        pipes["xu"] += 2
        pipes["fma"] += 3 + (rule != "gaussian")
    elif rule == "subset":
        pipes["xu"] += 2
        pipes["fma"] += 3
        pipes["alu"] += 3 + constants["ONES"]
    elif every_step:
        link = {"sigmoid": (1, 2, 2), "clip": (0, 1, 2), "threshold": (0, 0, 1)}
        for name, instructions in zip(("xu", "fma", "alu"), link[rule]):
            pipes[name] += instructions
    products = _matrix(pipes, dim, precision, arch, binary=every_step and not continuous)
    pipes["lsu"] = asked / 4
    return Mix(pipes, float_lanes=pipes["fma"], wavefronts=asked, tensor_products=products, bytes=4 * asked)


def _matrix(pipes: dict[str, float], dim: int, precision: str, arch: str, binary: bool) -> float:
    """Adds the matrix product to ``pipes``; fused multiply-adds on tensor cores, in the unit of Mix."""
    if precision == "ieee":
        pipes["fma"] += dim
        return 0.0
    parts = 1 if precision == "tf32" else 2 if binary else 3
    narrow = 2 if precision == "tf32" else 1  # an instruction multiplies half as many numbers that are twice as wide
    if arch in WHOLE_PRODUCTS:
        pipes["tensor"] += narrow * parts / 8  # m64nDk16, for D / 2 coefficients of each of 128 lanes
    else:
        pipes["tensor"] += narrow * parts * dim / 64  # m16n8k16, for 4 coefficients of each of 32 lanes
    if precision != "tf32":
        pipes["alu"] += 0.5 if binary else 1
        pipes["fma"] += 0 if binary else 2
    return float(narrow * parts * dim)


EAGER = {
    "gaussian": {
        "u = torch.addmm(offset, w, matrix)": 8,
        "noise = torch.randn_like(u)": 4,
        "w = u.add_(noise, alpha=sigma)": 12,
    },
    "bernoulli": {
        "u = torch.addmm(offset, w, matrix)  # offset and matrix hold the link's scale": 8,
        "u.sigmoid_()": 8,
        "w = torch.bernoulli(u)": 8,
    },
    "clip": {"u = torch.addmm(offset, w, matrix)": 8, "u.clamp_(0, 1)": 8, "w = torch.bernoulli(u)": 8},
    "threshold": {"u = torch.addmm(offset, w, matrix)": 8, "one = u > 0.5": 5, "w = one.float()": 5},
    "last_step": {"u = torch.addmm(offset, w, matrix)": 8},
    "rank_one": {
        "u = torch.addmm(offset, w, matrix)": 8,
        "noise = torch.randn_like(u)": 4,
        "along = torch.linalg.vecdot(noise, w)": 8,
        "w = u.addcmul_(noise, along[:, None], value=-kappa)": 12,
    },
    "elementwise": {
        "u = torch.addmm(offset, w, matrix)": 8,
        "noise = torch.randn_like(u)": 4,
        "w = u.addcmul_(noise, w, value=kappa)": 16,
    },
    "subset": {
        "u = torch.addmm(offset, w, matrix)": 8,
        "u.clamp_(1e-10, 1e30)": 8,
        "key = torch.empty_like(u).exponential_()": 4,
        "key.div_(u)": 12,
        "chosen = key.topk(k, largest=False).indices": 4,
        "w.zero_()": 4,
        "w.scatter_(1, chosen, 1.0)": 0,
    },
}
"""The eager PyTorch loop with the fewest passes over memory: its operations and the bytes that each reads
and writes per coefficient-step in float32; the d x d matrix is read from cache."""


def eager_bound(rule: str, gpu: Gpu, dim: int) -> float:
    """Coefficient-steps per second that no eager loop exceeds on thoughts that do not fit into the L2 cache.

    Its operations run one after the other: each moves its bytes at the full bandwidth, the matrix product
    takes d multiply-adds in float32 at the full rate if that is longer. With ``dim`` = 0: memory alone.
    """
    byte = 1 / (gpu.terabytes * 1e12)
    product, *others = EAGER[rule].values()
    multiply_add = 1 / (gpu.sms * gpu.fma * gpu.gigahertz * 1e9)
    return 1 / (max(product * byte, dim * multiply_add) + sum(others) * byte)


class Occupancy(NamedTuple):
    """What an SM holds at once. Source: CUDA C++ Programming Guide, technical specifications per compute
    capability; allocation as in the CUDA occupancy calculator."""

    warps: int
    programs: int
    shared_kilobytes: int


OCCUPANCY = {
    "sm_80": Occupancy(64, 32, 164),
    "sm_86": Occupancy(48, 16, 100),
    "sm_89": Occupancy(48, 24, 100),
    "sm_90": Occupancy(64, 32, 228),
    "sm_100": Occupancy(64, 32, 228),
    "sm_120": Occupancy(48, 24, 100),
}


def resident_warps(arch: str, warps: int, registers: int, shared_bytes: int) -> int:
    """Warps that an SM holds at once, for programs of so many warps.

    64 K registers lie in four parts of an SM and are given to warps in units of 256; shared memory is
    given in units of 128 bytes, with 1 KiB for the system besides (CUDA occupancy calculator).
    """
    limit = OCCUPANCY[arch]
    by_registers = 4 * (16384 // (-(-registers * 32 // 256) * 256)) // warps
    by_shared = limit.shared_kilobytes * 1024 // (-(-shared_bytes // 128) * 128 + 1024)
    return warps * min(by_registers, by_shared, limit.warps // warps, limit.programs)
