"""One instruction for the lanes that execute it, and tables of opcodes. See ``ptxsim``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ptxnumbers import flush, pack
from ptxtext import Address, Array, Instruction, Operand, SimError, Vector

if TYPE_CHECKING:
    from ptxsim import Sim


@dataclass
class Step:
    """One instruction for the lanes that execute it."""

    sim: Sim
    instruction: Instruction
    lanes: Array

    def has(self, modifier: str) -> bool:
        return modifier in self.instruction.parts

    def choose(self, table: dict[str, Any]) -> Any:
        """Entry of the modifier that the opcode carries."""
        return table[next(p for p in self.instruction.parts[1:] if p in table)]

    @property
    def ty(self) -> str:
        return self.instruction.types[-1]

    @property
    def operands(self) -> tuple[Operand, ...]:
        return self.instruction.operands

    @property
    def where(self) -> str:
        return self.instruction.where

    def get(self, k: int, ty: str = "") -> Array:
        x = self.sim.read(self.operands[k], ty or self.ty, self.lanes)
        return flush(x) if self.has("ftz") else x

    def put(self, values: Array, ty: str = "", k: int = 0) -> None:
        ty = ty or self.ty
        if self.has("sat") and values.dtype.kind == "f":
            values = np.where(np.isnan(values), 0, np.clip(values, 0, 1)).astype(values.dtype)
        if self.has("ftz"):
            values = flush(values)
        self.sim.write(self.operands[k], values if ty == "pred" else pack(values, ty), self.lanes)

    def vector(self, k: int) -> tuple[str, ...]:
        operand = self.operands[k]
        if isinstance(operand, Address):
            raise SimError(f"operand {k} is an address at {self.where}")
        return operand.items if isinstance(operand, Vector) else (operand,)

    def stack(self, k: int, ty: str) -> Array:
        """The registers of a vector operand: (lanes, registers, values per register)."""
        columns = [self.sim.read(name, ty, self.lanes).reshape(len(self.lanes), -1) for name in self.vector(k)]
        return np.stack(columns, 1)

    def address(self, k: int) -> Array:
        operand = self.operands[k]
        if not isinstance(operand, Address):
            raise SimError(f"operand {k} is no address at {self.where}")
        return self.sim.addresses(operand, self.lanes)

    def pair(self, k: int = 0) -> tuple[str, str]:
        """``d|p``, where the second may be missing."""
        operand = self.operands[k]
        if not isinstance(operand, str):
            raise SimError(f"operand {k} is no register at {self.where}")
        first, _, second = operand.partition("|")
        return first, second or "_"


Handler: TypeAlias = Callable[[Step], None]


class Opcodes(dict[str, tuple[Handler, frozenset[str]]]):
    """What executes an opcode, and the modifiers that it may carry."""

    def add(self, names: str, modifiers: str = "") -> Callable[[Handler], Handler]:
        """Decorator: the handler of these opcodes."""

        def register(handler: Handler) -> Handler:
            for name in names.split():
                self[name] = handler, frozenset(modifiers.split())
            return handler

        return register
