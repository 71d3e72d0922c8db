"""The memory of a launch, and the log of who touched it. See ``ptxsim``."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ptxtext import I64, U8, UNSIGNED, Array, SimError


class AccessLog:
    """Who touched each granule of a memory; an agent is a warp or a CTA.

    A key is ``epoch << shift | agent``. Accesses conflict if the epochs agree, the agents do not, and one of
    the two writes. The agent with all bits set stands for several readers.
    """

    def __init__(self, size: int, granule: int, agents: int) -> None:
        self.granule, self.shift = granule, (agents + 1).bit_length()
        self.writer = np.full(-(-size // granule), -1, I64)
        self.reader = self.writer.copy()
        self.pending = np.zeros(len(self.writer), np.bool_)  # cp.async not yet waited for
        self.generic = self.pending.copy()  # written, and no fence.proxy.async since

    def places(self, offsets: Array, nbytes: int) -> Array:
        return (offsets // self.granule)[:, None] + np.arange(nbytes // self.granule)

    def _clash(self, log: Array, key: Array) -> Array:
        mask: Array = (log != key) & ((log ^ key) >> self.shift == 0)
        return mask

    def read(self, at: Array, key: Array) -> Array:
        """Mask of conflicts."""
        several = key | ((1 << self.shift) - 1)
        self.reader[at] = np.where(self._clash(self.reader[at], key), several, key)
        left = self.reader[at]
        mixed = (left != key) & (left != several)  # two agents in this very instruction
        self.reader[at[mixed]] = np.broadcast_to(several, at.shape)[mixed]
        return self._clash(self.writer[at], key) | self.pending[at]

    def write(self, at: Array, key: Array) -> tuple[Array, Array]:
        """Mask of conflicts with the past, and of those within this instruction."""
        past = self._clash(self.writer[at], key) | self._clash(self.reader[at], key) | self.pending[at]
        self.writer[at] = key
        return past, self.writer[at] != key


def gather(memory: Array, offsets: Array, nbytes: int) -> Array:
    unit = min(nbytes, 8)
    rows: Array = memory.view(UNSIGNED[unit]).reshape(-1, nbytes // unit)[offsets // nbytes]
    return rows


def scatter(memory: Array, offsets: Array, nbytes: int, data: Array) -> None:
    unit = min(nbytes, 8)
    memory.view(UNSIGNED[unit]).reshape(-1, nbytes // unit)[offsets // nbytes] = data.view(UNSIGNED[unit])


class Rows(NamedTuple):
    """An array whose rows lie far from each other in the memory of the launch, with nothing between them."""

    array: Array
    pitch: int
    """Bytes from the start of a row to that of the next."""


class GlobalMemory:
    """The buffers of a launch, 2^40 apart, so that no overrun of one lands in another."""

    SPACING = 40

    def __init__(self, granule: int, ctas: int, warps: int) -> None:
        self.arrays: list[Array] = []
        self.pitches: list[int] = []
        self.granule, self.ctas, self.warps = granule, ctas, warps

    def add(self, buffer: Array | Rows) -> int:
        """Address of an array. It is copied now, and back after the run."""
        array, pitch = buffer if isinstance(buffer, Rows) else (buffer, 1 << self.SPACING)
        if not array.flags.c_contiguous:
            raise ValueError("an array argument must be contiguous")
        for i, known in enumerate(self.arrays):
            if known is array:
                return (i + 1) << self.SPACING
            if np.shares_memory(known, array):
                raise ValueError("two array arguments overlap")
        self.arrays.append(array)
        self.pitches.append(pitch)
        return len(self.arrays) << self.SPACING

    def load(self) -> None:
        self.sizes = np.array([a.nbytes for a in self.arrays], I64)
        self.apart = np.array(self.pitches, I64)
        spread = self.apart < 1 << self.SPACING
        self.rows = np.where(spread, [len(a) if a.ndim else 1 for a in self.arrays], 1)
        padded = -(-self.sizes // 256) * 256
        self.starts = np.cumsum(padded) - padded
        self.data = np.zeros(int(padded.sum()), U8)
        self.log = AccessLog(len(self.data), self.granule, self.ctas)
        self.warp_log = AccessLog(len(self.data), self.granule, self.warps)
        self.writeable = np.array([a.flags.writeable for a in self.arrays], np.bool_)
        for array, start in zip(self.arrays, self.starts):
            self.data[start : start + array.nbytes] = array.reshape(-1).view(U8)

    def store(self) -> None:
        for array, start in zip(self.arrays, self.starts):
            if array.flags.writeable:
                array.reshape(-1).view(U8)[:] = self.data[start : start + array.nbytes]

    def locate(self, addresses: Array, nbytes: int, writing: bool, where: str) -> Array:
        which = (addresses >> self.SPACING) - 1
        wild = (which < 0) | (which >= len(self.arrays))
        if wild.any():
            raise SimError(f"global address {int(addresses[wild][0]):#x} belongs to no buffer, at {where}")
        offsets = addresses & ((1 << self.SPACING) - 1)
        row, within = offsets // self.apart[which], offsets % self.apart[which]
        size = self.sizes[which] // self.rows[which]
        beyond = (within + nbytes > size) | (row >= self.rows[which])
        if beyond.any():
            k = int(np.argmax(beyond))
            raise SimError(
                f"out of bounds: offset {int(offsets[k])} + {nbytes} in array {int(which[k])} of "
                f"{int(self.sizes[which[k]])} bytes, {int(beyond.sum())} lanes, at {where}"
            )
        if (offsets % nbytes).any():
            raise SimError(f"misaligned access of {nbytes} bytes to global memory at {where}")
        if writing and not self.writeable[which].all():
            raise SimError(f"store to a read-only array at {where}")
        located: Array = self.starts[which] + row * size + within
        return located
