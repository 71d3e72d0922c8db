"""Parts that a user brings: any object with the methods of a protocol, whatever its type.

A protocol here is a :class:`typing.Protocol` whose optional methods have a body, the default, and whose required
ones are abstract. A user's class may derive from it, and has the defaults; or it just has the required methods, and
:func:`complete` adds the defaults.
"""

from __future__ import annotations

import inspect
from typing import Any, TypeVar

T = TypeVar("T")


def complete(part: Any, protocol: type[T], argument: str) -> T:
    """``part`` with every method of ``protocol``: itself if it has them all, else with the defaults it lacks.

    Args:
        part: the user's object.
        protocol: the protocol.
        argument: name of the argument, for the error.

    Returns:
        An object with the protocol's methods and all that ``part`` has; equal and hashed as ``part``.

    Raises:
        TypeError: a required method is missing.

    >>> from typing import Protocol
    >>> from abc import abstractmethod
    >>> class Greeter(Protocol):
    ...     @abstractmethod
    ...     def name(self) -> str: ...
    ...     def greeting(self) -> str:
    ...         return f"Hello, {self.name()}"
    >>> class World:
    ...     def name(self) -> str:
    ...         return "world"
    >>> complete(World(), Greeter, "greeter").greeting()
    'Hello, world'
    """
    required: frozenset[str] = getattr(protocol, "__abstractmethods__", frozenset())
    missing = sorted(name for name in required if not hasattr(part, name))
    if missing or isinstance(part, type):
        got = f"the class {part.__name__}; make an object of it" if isinstance(part, type) else type(part).__name__
        wanted = f"an object with {_listed(sorted(required))} (see ttc_fast.{protocol.__name__})"
        raise TypeError(f"{argument}: expected {wanted}, got {got}")
    if all(hasattr(part, name) for name in _members(protocol)):
        return part  # type: ignore[no-any-return]  # it has the protocol's methods
    return _Completed(part, protocol)  # type: ignore[return-value]  # so has this one


def is_default(method: Any, default: Any) -> bool:
    """Whether a part has left a method as the protocol has it; a default may ask that of another one.

    Args:
        method: of the part, or of what :func:`complete` made of it.
        default: of the protocol.
    """
    return getattr(method, "__func__", None) is default


def original(part: Any) -> Any:
    """The object that :func:`complete` was given."""
    return part.__dict__.get("_part", part) if isinstance(part, _Completed) else part


def described(part: Any) -> str:
    """The object in words that are the same in every process: its repr, without an address."""
    text = repr(part)
    return type(original(part)).__name__ if " at 0x" in text else text


_MEMBERS: dict[type, list[str]] = {}
"""Of every protocol seen: ``torch.compile`` can look them up, but not find them."""


def _members(protocol: type) -> list[str]:
    if protocol not in _MEMBERS:
        kinds = protocol.__mro__[:-3]
        _MEMBERS[protocol] = [name for kind in kinds for name in vars(kind) if not name.startswith("_")]
    return _MEMBERS[protocol]


def _listed(names: list[str]) -> str:
    return f"the method{'s' if len(names) > 1 else ''} {', '.join(names)}"


class _Completed:
    """A part with the defaults of a protocol behind its own attributes."""

    def __init__(self, part: Any, protocol: type) -> None:
        self._part, self._protocol = part, protocol

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_part" not in self.__dict__:
            raise AttributeError(name)
        if hasattr(self._part, name) or not hasattr(self._protocol, name):
            return getattr(self._part, name)
        default = inspect.getattr_static(self._protocol, name)
        # Bound to this object, so that a default may call other defaults.
        return default.__get__(self) if hasattr(default, "__get__") else default

    def __repr__(self) -> str:
        return repr(self._part)

    def __eq__(self, other: object) -> bool:
        return bool(self._part == getattr(other, "_part", other))

    def __hash__(self) -> int:
        return hash(self._part)
