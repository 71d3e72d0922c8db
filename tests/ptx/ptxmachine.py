"""The registers and memories of a launch, for all its threads at once. See ``ptxsim``."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ptxaccess import AccessLog, GlobalMemory, Rows, gather, scatter
from ptxmemory import access_bytes
from ptxnumbers import unpack
from ptxtext import (
    DTYPE,
    F32,
    F64,
    I64,
    SIGNED,
    U8,
    U32,
    UNSIGNED,
    WARP,
    WIDTH,
    Address,
    Array,
    Operand,
    Program,
    SimError,
)
from ptxwgmma import Products

Argument: TypeAlias = "Array | Rows | int | float | np.generic | None"


class Machine:
    """What the instructions of a launch read and write, and the log of who touched it; arguments as of ``Sim``."""

    def __init__(
        self,
        ptx: str,
        grid: Sequence[int],
        shared: int,
        args: Sequence[Argument],
        worst: bool,
        seed: int,
    ) -> None:
        self.program = program = Program(ptx)
        self.grid = tuple(int(g) for g in (*grid, 1, 1, 1)[:3])
        self.threads, self.ctas = program.threads, int(np.prod(self.grid))
        self.n = self.threads * self.ctas
        self.lanes = np.arange(self.n)
        self.cta, self.warp = self.lanes // self.threads, self.lanes // WARP
        self.registers: dict[str, Array] = {}  # filled as they are used
        self.carry = np.zeros(self.n, np.bool_)
        self.worst, self.seed = worst, seed
        self.shared_races: collections.Counter[str] = collections.Counter()
        self.global_races: collections.Counter[str] = collections.Counter()
        self.unfenced: collections.Counter[str] = collections.Counter()
        self.global_conflicts: collections.Counter[str] = collections.Counter()
        self._immediates: dict[tuple[str, str], Array] = {}
        self._special = self._special_registers()
        self._make_memory(shared, args)
        self.epoch = np.zeros(self.ctas, I64)
        # cp.async: groups committed per lane, and the copies in flight as (lanes, group, places in the log).
        self.groups = np.zeros(self.n, I64)
        self.in_flight: list[tuple[Array, Array, Array]] = []
        self.products = Products(self)

    def _make_memory(self, shared: int, args: Sequence[Argument]) -> None:
        program = self.program
        self.shared_size = program.sizes["shared"] + int(shared)
        self.shared_stride = -(-max(self.shared_size, 1) // 128) * 128
        self.shared = np.full(self.ctas * self.shared_stride, 255, U8)
        self.shared_log = AccessLog(len(self.shared), self._granule("shared"), self.threads // WARP)
        self.local_stride = -(-max(program.sizes["local"], 1) // 16) * 16
        self.local = np.full(self.n * self.local_stride, 255, U8)
        self.memory = GlobalMemory(self._granule("global"), self.ctas, self.n // WARP)
        if len(args) > len(program.parameters):
            raise ValueError(f"{program.name} has {len(program.parameters)} parameters, got {len(args)} arguments")
        padded = [*args, *[0] * (len(program.parameters) - len(args))]
        self.parameters = {name: self._parameter(a, ty) for (name, ty), a in zip(program.parameters, padded)}
        self.symbols = program.symbols | {name: self.memory.add(data) for name, data in program.constants.items()}
        self.memory.load()

    def _granule(self, space: str) -> int:
        """Smallest access of the kernel: what the log of that memory resolves."""
        sizes = [access_bytes(i) for i in self.program.code if any(p.split(":")[0] == space for p in i.parts)]
        return min([16, *sizes])

    def _parameter(self, value: Argument, ty: str) -> Array:
        width = WIDTH[ty]
        if isinstance(value, (np.ndarray, Rows)):
            value = self.memory.add(value)
        if isinstance(value, (float, np.floating)):
            return np.array([value], {4: F32, 8: F64}[width]).view(UNSIGNED[width])
        return np.array([int(value or 0) & ((1 << 8 * width) - 1)], UNSIGNED[width])

    def _special_registers(self) -> dict[str, Array]:
        x, y, _ = self.grid
        lane = self.lanes % WARP
        one = np.ones(self.n, I64)
        values = {
            **{"%tid.x": self.lanes % self.threads, "%tid.y": 0 * one, "%tid.z": 0 * one},
            **{"%ntid.x": self.threads * one, "%ntid.y": one, "%ntid.z": one},
            **{"%ctaid.x": self.cta % x, "%ctaid.y": self.cta // x % y, "%ctaid.z": self.cta // (x * y)},
            **{f"%nctaid.{axis}": g * one for axis, g in zip("xyz", self.grid)},
            **{"%laneid": lane, "%warpid": self.lanes % self.threads // WARP, "%nwarpid": self.threads // WARP * one},
            **{"%lanemask_eq": one << lane, "%lanemask_lt": (one << lane) - 1, "%lanemask_le": (2 << lane) - 1},
            **{"%lanemask_gt": 2**32 - (2 << lane), "%lanemask_ge": 2**32 - (one << lane)},
        }
        return {name: value.astype(U32) for name, value in values.items()}

    # ---- operands

    def _register(self, name: str) -> Array:
        register = self.registers.get(name)
        if register is None:
            dtype = self.program.registers[name]
            blank = False if dtype is np.bool_ else np.iinfo(dtype).max
            register = self.registers[name] = np.full(self.n, blank, dtype)
        return register

    def read(self, name: Operand, ty: str, lanes: Array) -> Array:
        if not isinstance(name, str):
            raise SimError(f"operand {name} is not a register or number")
        if ty == "pred":
            return self.read_predicate(name, lanes)
        register = self.registers.get(name)
        if register is None:
            register = self._special.get(name) if name not in self.program.registers else self._register(name)
        if register is None:
            return self._immediate(name, ty)[: len(lanes)]
        bits = register if len(lanes) == self.n else register[lanes]
        if bits.dtype.itemsize != (width := WIDTH[ty]):
            if bits.dtype.itemsize < width and name not in self._special:
                raise SimError(f"register {name} is narrower than .{ty}")
            bits = bits.astype(UNSIGNED[width])  # the low bits
        return unpack(bits, ty)

    def read_predicate(self, name: str, lanes: Array) -> Array:
        if name.startswith("!"):
            return ~self.read_predicate(name[1:], lanes)
        if name not in self.program.registers:
            return np.full(len(lanes), int(name, 0) != 0)
        values = self._register(name)
        return values if len(lanes) == self.n else values[lanes]

    def _immediate(self, text: str, ty: str) -> Array:
        """A number, or the address of a variable, for all lanes."""
        if (text, ty) not in self._immediates:
            width = WIDTH[ty]
            unsigned = UNSIGNED[width]
            if text[:2] in ("0f", "0F", "0d", "0D"):
                bits = int(text[2:], 16)
            elif text in self.symbols:
                bits = self.symbols[text]
            elif re.fullmatch(r"-?\d+\.\d*", text):
                bits = int(np.array([float(text)], DTYPE[ty]).view(unsigned)[0])
            elif re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|\d+)U?", text):
                bits = int(text.rstrip("U"), 0)
            else:
                raise SimError(f"unknown operand {text}")
            self._immediates[text, ty] = unpack(np.full(self.n, bits & ((1 << 8 * width) - 1), unsigned), ty)
        return self._immediates[text, ty]

    def write(self, name: Operand, values: Array, lanes: Array) -> None:
        """Values as packed words; signed ones are extended by their sign into a wider register."""
        if name == "_":
            return
        if not isinstance(name, str) or name not in self.program.registers:
            raise SimError(f"unknown register {name}")
        register = self._register(name)
        if register.dtype != np.bool_:
            width = register.dtype.itemsize
            if values.dtype.itemsize > width:
                raise SimError(f"register {name} is too narrow for the result")
            if values.dtype.itemsize < width:
                values = values.astype(SIGNED[width] if values.dtype.kind == "i" else UNSIGNED[width])
            values = values.view(register.dtype)
        if len(lanes) == self.n:
            register[:] = values
        else:
            register[lanes] = values

    # ---- memory

    def addresses(self, address: Address, lanes: Array) -> Array:
        register = self._register(address.base) if address.base in self.program.registers else None
        if register is None:
            return self._immediate(address.base, "s64")[: len(lanes)] + address.offset
        return (register if len(lanes) == self.n else register[lanes]).astype(I64) + address.offset

    def access_global(
        self, addresses: Array, nbytes: int, lanes: Array, where: str, data: Array | None = None
    ) -> Array:
        """Reads, or writes ``data``: rows of words of up to 8 bytes per lane."""
        memory = self.memory
        offsets = memory.locate(addresses, nbytes, data is not None, where)
        at, cta = memory.log.places(offsets, nbytes), self.cta[lanes]
        warp = (self.epoch[cta] << memory.warp_log.shift | self.warp[lanes])[:, None]
        if data is None:
            self._report(self.global_conflicts, memory.log.read(at, cta[:, None]), memory.log, where)
            self._report(self.global_races, memory.warp_log.read(at, warp), memory.log, where)
            return gather(memory.data, offsets, nbytes)
        past, now = memory.log.write(at, cta[:, None])
        self._report(self.global_conflicts, past | now, memory.log, where)
        past, now = memory.warp_log.write(at, warp)
        scatter(memory.data, offsets, nbytes, data)
        if now.any():  # equal bytes of a replicated layout are no race
            now &= (gather(memory.data, offsets, nbytes) != data.view(UNSIGNED[min(nbytes, 8)])).any(1)[:, None]
        self._report(self.global_races, past | now, memory.log, where)
        return data

    def _shared_offsets(self, addresses: Array, nbytes: int, lanes: Array, where: str) -> Array:
        if (addresses < 0).any() or (addresses + nbytes > self.shared_size).any():
            raise SimError(f"out of bounds of the {self.shared_size} bytes of shared memory at {where}")
        if (addresses % nbytes).any():
            raise SimError(f"misaligned access of {nbytes} bytes to shared memory at {where}")
        located: Array = addresses + self.cta[lanes] * self.shared_stride
        return located

    def shared_key(self, lanes: Array) -> Array:
        key: Array = self.epoch[self.cta[lanes]] << self.shared_log.shift | self.lanes[lanes] % self.threads // WARP
        return key

    def access_shared(
        self,
        addresses: Array,
        nbytes: int,
        lanes: Array,
        where: str,
        data: Array | None = None,
        pending: bool = False,
        product: bool = False,
    ) -> Array:
        """Like ``access_global``. ``pending``: a cp.async writes; ``product``: a wgmma reads."""
        offsets = self._shared_offsets(addresses, nbytes, lanes, where)
        log, key = self.shared_log, self.shared_key(lanes)[:, None]
        at = log.places(offsets, nbytes)
        if data is None:
            self.report_shared(log.read(at, key), where)
            if product:
                self.report_shared(log.generic[at], where)
                self.products.read(lanes, at, log.writer[at])
            return gather(self.shared, offsets, nbytes)
        past, now = log.write(at, key)
        scatter(self.shared, offsets, nbytes, data)
        if now.any():
            now &= (gather(self.shared, offsets, nbytes) != data.view(UNSIGNED[min(nbytes, 8)])).any(1)[:, None]
        self.report_shared(past | now, where)
        log.generic[at] = True
        if pending:
            log.pending[at] = True
            self.in_flight.append((lanes, self.groups[lanes], at))
        return data

    def access_local(self, addresses: Array, nbytes: int, lanes: Array, where: str, data: Array | None = None) -> Array:
        beyond = (addresses < 0) | (addresses + nbytes > self.program.sizes["local"])
        if beyond.any() or (addresses % nbytes).any():
            raise SimError(f"misaligned or out of bounds of local memory at {where}")
        offsets = addresses + self.lanes[lanes] * self.local_stride
        if data is None:
            return gather(self.local, offsets, nbytes)
        scatter(self.local, offsets, nbytes, data)
        return data

    def report_shared(self, bad: Array, where: str) -> None:
        self._report(self.shared_races, bad, self.shared_log, where)

    @staticmethod
    def _report(counter: collections.Counter[str], bad: Array, log: AccessLog, where: str) -> None:
        if bad.any():
            counter[where] += int(bad.sum()) * log.granule

    def finish_copies(self, lanes: Array, done: Array) -> None:
        """The copies of these lanes with a group below ``done`` count as written by their warp now."""
        limit = np.zeros(self.n, I64)
        limit[lanes] = done
        remaining = []
        for issuers, group, at in self.in_flight:
            ready = group < limit[issuers]
            places = at[ready]
            self.shared_log.pending[places] = False
            self.shared_log.generic[places] = True
            self.shared_log.writer[places] = self.shared_key(issuers[ready])[:, None]
            if not ready.all():
                remaining.append((issuers[~ready], group[~ready], at[~ready]))
        self.in_flight = remaining

    def fence_shared(self, lanes: Array, where: str) -> None:
        """What these CTAs have written to shared memory, products may read."""
        there = np.bincount(self.cta[lanes], minlength=self.ctas) == self.threads
        if there.sum() * self.threads != len(lanes):
            raise SimError(f"a fence by a part of a CTA is not modelled, at {where}")
        self.shared_log.generic.reshape(self.ctas, -1)[there] = False

    # ---- warps

    def present(self, lanes: Array) -> Array:
        """Bit mask of the given lanes in each warp of the launch."""
        there = np.zeros(self.n, I64)
        there[lanes] = 1
        return there.reshape(-1, WARP) @ (1 << np.arange(WARP, dtype=I64))

    def require_members(self, lanes: Array, members: Array, where: str) -> None:
        if (self.present(lanes)[self.warp[lanes]] != members.astype(I64)).any():
            raise SimError(f"warp collective by other lanes than those named (a diverged warp?) at {where}")

    def require_full_warps(self, lanes: Array, where: str) -> int:
        if len(lanes) != self.n:
            self.require_members(lanes, np.full(len(lanes), 2**32 - 1, I64), where)
        return len(lanes) // WARP
