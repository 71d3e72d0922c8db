"""The opcodes of PTX that move, choose and compute with integers. See ``ptxsim``."""

from __future__ import annotations

import numpy as np

from ptxstep import Opcodes, Step
from ptxtext import DTYPE, I64, U8, U32, U64, UNSIGNED, WIDTH, Array, SimError, Vector

OPCODES = Opcodes()


@OPCODES.add("mov")
def _mov(x: Step) -> None:
    if x.ty == "pred":
        return x.put(x.get(1))
    if isinstance(x.operands[1], Vector):
        part = f"b{8 * WIDTH[x.ty] // len(x.operands[1].items)}"
        words = np.ascontiguousarray(x.stack(1, part)[:, :, 0])
        return x.put(words.view(UNSIGNED[WIDTH[x.ty]])[:, 0], f"b{8 * WIDTH[x.ty]}")
    if isinstance(x.operands[0], Vector):
        names = x.operands[0].items
        dtype = UNSIGNED[WIDTH[x.ty] // len(names)]
        words = np.ascontiguousarray(x.get(1, f"b{8 * WIDTH[x.ty]}")).view(dtype).reshape(-1, len(names))
        for name, column in zip(names, words.T):
            x.sim.write(name, column.copy(), x.lanes)
        return None
    return x.put(x.get(1))


@OPCODES.add("cvta", "to global shared local const param")
def _cvta(x: Step) -> None:
    x.put(x.get(1))


@OPCODES.add("selp")
def _selp(x: Step) -> None:
    x.put(np.where(x.get(3, "pred"), x.get(1), x.get(2)))


@OPCODES.add("slct", "ftz")
def _slct(x: Step) -> None:
    ty, control = x.instruction.types
    x.put(np.where(x.get(3, control) >= 0, x.get(1, ty), x.get(2, ty)), ty)


@OPCODES.add("createpolicy", "fractional range L2:evict_first L2:evict_last L2:evict_normal L2:evict_unchanged")
def _createpolicy(x: Step) -> None:
    x.put(np.zeros(len(x.lanes), U64))  # a hint to the caches


@OPCODES.add("fence membar", "proxy async async:generic acq_rel sc cta gpu sys gl cluster global shared:cta")
def _fence(x: Step) -> None:
    """Lanes run in program order; only products of warp groups read what a fence must show them."""
    if x.has("proxy") and x.has("async") and not x.has("global"):
        x.sim.fence_shared(x.lanes, x.where)


@OPCODES.add("bar", "warp sync")
def _warp_barrier(x: Step) -> None:
    pass  # the order within a warp is not modelled


@OPCODES.add("griddepcontrol prefetch nanosleep", "wait launch_dependents global L1 L2")
def _nothing(x: Step) -> None:
    pass


@OPCODES.add("trap")
def _trap(x: Step) -> None:
    raise SimError(f"trap at {x.where}")


# ---------------------------------------------------------------------------------------------- integers


def _wide(ty: str) -> str:
    return f"{ty[0]}{2 * int(ty[1:])}"


@OPCODES.add("and or xor not")
def _bitwise(x: Step) -> None:
    if x.has("not"):
        return x.put(~x.get(1))
    function = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[x.instruction.parts[0]]
    return x.put(function(x.get(1), x.get(2)))


@OPCODES.add("lop3")
def _lop3(x: Step) -> None:
    a, b, c = (x.get(k) for k in (1, 2, 3))
    table = int(x.get(4)[0])
    result = np.zeros_like(a)
    for k in range(8):
        if table >> k & 1:
            result |= (a if k & 4 else ~a) & (b if k & 2 else ~b) & (c if k & 1 else ~c)
    x.put(result)


@OPCODES.add("shl shr")
def _shift(x: Step) -> None:
    """Shifts by the width or more leave nothing, or the sign."""
    value, amount = x.get(1), x.get(2, "u32")
    bits = 8 * value.itemsize
    last = np.minimum(amount, bits - 1).astype(value.dtype)
    if x.has("shl"):
        return x.put(np.where(amount >= bits, 0, value << last).astype(value.dtype))
    beyond = value >> value.dtype.type(bits - 1) if x.ty[0] == "s" else np.zeros_like(value)
    return x.put(np.where(amount >= bits, beyond, value >> last))


@OPCODES.add("shf", "l r wrap clamp")
def _funnel_shift(x: Step) -> None:
    low, high, amount = (x.get(k, "u32").astype(U64) for k in (1, 2, 3))
    amount = amount & U64(31) if x.has("wrap") else np.minimum(amount, U64(32))
    both = high << U64(32) | low
    x.put(both << amount >> U64(32) if x.has("l") else both >> amount)


def _low_mask(bits: Array) -> Array:
    """uint64 words with that many low bits set, up to 64."""
    short = (U64(1) << np.minimum(bits, 63).astype(U64)) - U64(1)
    mask: Array = np.where(bits >= 64, ~U64(0), short)
    return mask


@OPCODES.add("bfe")
def _bit_field_extract(x: Step) -> None:
    width = 8 * WIDTH[x.ty]
    value = x.get(1, f"u{width}").astype(U64)
    start, length = (x.get(k, "u32").astype(I64) & 255 for k in (2, 3))
    mask = _low_mask(np.clip(np.minimum(length, width - start), 0, None))
    field = np.where(start < width, value >> np.minimum(start, 63).astype(U64), U64(0)) & mask
    if x.ty[0] == "s":  # fill with the field's last bit, or the word's where the field reaches beyond it
        sign = value >> np.clip(start + length - 1, 0, width - 1).astype(U64) & U64(1)
        field |= np.where((sign == 1) & (length > 0), ~mask, U64(0))
    x.put(field)


@OPCODES.add("bfi")
def _bit_field_insert(x: Step) -> None:
    part, value = x.get(1).astype(U64), x.get(2).astype(U64)
    start, length = (x.get(k, "u32").astype(I64) & 255 for k in (3, 4))
    shift = np.minimum(start, 63).astype(U64)
    mask = np.where(start < 64, _low_mask(length) << shift, U64(0))
    x.put(value & ~mask | part << shift & mask)


def bits_of(value: Array) -> Array:
    """Bits of each word, lowest first: (lanes, width)."""
    return np.unpackbits(value.view(U8).reshape(len(value), -1), axis=1, bitorder="little")


@OPCODES.add("popc clz brev")
def _bit_count(x: Step) -> None:
    bits = bits_of(np.ascontiguousarray(x.get(1)))
    if x.has("brev"):
        return x.put(np.packbits(bits[:, ::-1], axis=1, bitorder="little").view(UNSIGNED[WIDTH[x.ty]])[:, 0])
    if x.has("popc"):
        return x.put(bits.sum(1), "u32")
    return x.put(np.where(bits.any(1), bits[:, ::-1].argmax(1), bits.shape[1]), "u32")


@OPCODES.add("prmt")
def _permute_bytes(x: Step) -> None:
    source = np.stack([x.get(1), x.get(2)], 1).view(U8)
    selector = x.get(3)[:, None] >> np.arange(0, 16, 4, dtype=U32)
    chosen = np.take_along_axis(source, (selector & U32(7)).astype(I64), 1)
    sign = np.where(chosen & U8(128), U8(255), U8(0))
    x.put(np.where(selector & U32(8), sign, chosen).view(U32)[:, 0])


def _multiply_high(a: Array, b: Array, ty: str) -> Array:
    if WIDTH[ty] < 8:
        wide = _wide(ty)
        shift = DTYPE[wide](8 * WIDTH[ty])
        product: Array = (a.astype(DTYPE[wide]) * b.astype(DTYPE[wide]) >> shift).astype(DTYPE[ty])
        return product
    mask, half = U64(0xFFFFFFFF), U64(32)
    x, y = a.view(U64), b.view(U64)
    middle = (x >> half) * (y & mask) + ((x & mask) * (y & mask) >> half)
    carry = (x & mask) * (y >> half) + (middle & mask)
    high = (x >> half) * (y >> half) + (middle >> half) + (carry >> half)
    if ty[0] == "s":
        high = high - np.where(a < 0, y, U64(0)) - np.where(b < 0, x, U64(0))
    result: Array = high.view(DTYPE[ty])
    return result


def integer_product(x: Step) -> tuple[Array, str]:
    """Integer product of operands 1 and 2, and its type."""
    a, b, ty = x.get(1), x.get(2), x.ty
    if x.has("wide"):
        wide = _wide(ty)
        return a.astype(DTYPE[wide]) * b.astype(DTYPE[wide]), wide
    if x.has("hi"):
        return _multiply_high(a, b, ty), ty
    if not x.has("lo"):
        raise SimError(f"integer product without .lo, .hi or .wide at {x.where}")
    return a * b, ty


def add_with_carry(x: Step, a: Array, b: Array, carry_in: bool) -> Array:
    """a + b, plus the carry; ``.cc`` keeps the new one."""
    a, b = (np.ascontiguousarray(v).view(UNSIGNED[v.itemsize]) for v in (a, b))
    carry = x.sim.carry[x.lanes] if carry_in else np.zeros(len(x.lanes), np.bool_)
    partial = a + b
    total: Array = partial + carry.astype(a.dtype)
    if x.has("cc"):
        x.sim.carry[x.lanes] = (partial < a) | (total < partial)
    return total


@OPCODES.add("madc", "lo hi wide cc")
def mad(x: Step) -> None:
    product, ty = integer_product(x)
    x.put(add_with_carry(x, product, x.get(3, ty), x.has("madc")), ty)


@OPCODES.add("addc", "cc")
def _addc(x: Step) -> None:
    x.put(add_with_carry(x, x.get(1), x.get(2), True))


@OPCODES.add("subc", "cc")
def _subc(x: Step) -> None:
    a, b = x.get(1), x.get(2)
    borrow = x.sim.carry[x.lanes]
    x.put(a - b - borrow.astype(a.dtype))
    if x.has("cc"):
        ua, ub = a.view(UNSIGNED[a.itemsize]), b.view(UNSIGNED[b.itemsize])
        x.sim.carry[x.lanes] = (ua < ub) | ((ua == ub) & borrow)


@OPCODES.add("rem")
def _rem(x: Step) -> None:
    a, b = x.get(1), x.get(2)
    x.put(a - quotient(x, a, b) * b)


def quotient(x: Step, a: Array, b: Array) -> Array:
    if (b == 0).any():
        raise SimError(f"integer division by zero at {x.where}")
    quotient = a // b
    truncated: Array = quotient + ((a - quotient * b != 0) & ((a < 0) ^ (b < 0))).astype(a.dtype)  # towards zero
    return truncated
