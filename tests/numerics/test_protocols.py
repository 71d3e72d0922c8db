"""Parts that a user brings: completed with the defaults of a protocol, whatever their type."""

from __future__ import annotations

import copy
import pickle
import re
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from ttc_fast.numerics.protocols import complete, described, is_default, original


class Greeter(Protocol):
    """Two methods of three have defaults, one of which calls the others; so has an attribute."""

    language: str | None = None

    @abstractmethod
    def name(self) -> str:
        """Whom to greet."""

    def greeting(self, *, mark: str = "!") -> str:
        """Say it."""
        return f"{self.word} {self.name()}{mark}"

    @property
    def word(self) -> str:
        """How it begins."""
        return "Hello"


@dataclass(frozen=True)
class World:
    """Only what is required, and something of its own."""

    size: int = 1

    def name(self) -> str:
        return "world" * self.size


class Polite(World):
    """With an answer of its own to what has a default."""

    word = "Good day"


class Heir(Greeter):
    """Derived from the protocol."""

    def name(self) -> str:
        return "heir"


def test_defaults_are_added() -> None:
    world = complete(World(2), Greeter, "greeter")
    assert world.greeting() == "Hello worldworld!"
    assert world.greeting(mark="?") == "Hello worldworld?"
    assert world.language is None
    assert world.size == 2  # type: ignore[attr-defined]  # the part's own
    assert complete(Polite(), Greeter, "greeter").greeting() == "Good day world!"  # defaults use what it has
    with pytest.raises(AttributeError, match="farewell"):
        world.farewell()  # type: ignore[attr-defined]  # on purpose


def test_what_has_everything_stays_what_it_is() -> None:
    heir = Heir()
    assert complete(heir, Greeter, "greeter") is heir
    world = complete(World(), Greeter, "greeter")
    assert complete(world, Greeter, "greeter") is world
    assert original(world) == World()
    assert isinstance(original(world), World)
    assert original(heir) is heir


def test_completed_parts_compare_as_the_parts_do() -> None:
    one, two, other = (complete(World(n), Greeter, "greeter") for n in (1, 1, 2))
    part: object = World(1)
    assert one == two == part
    assert part == one
    assert one != other
    assert len({one, two, other, World(2)}) == 2
    assert repr(one) == "World(size=1)"
    assert described(other) == "World(size=2)"
    for again in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert again == one
        assert again.greeting() == "Hello world!"


def test_a_method_that_is_left_as_it_is() -> None:
    """Of a part derived from the protocol, and of one that was completed."""

    class Other(Heir):
        def greeting(self, *, mark: str = "!") -> str:
            return "Hi"

    for part, left in ((Heir(), True), (Other(), False), (World(), True)):
        completed: Greeter = complete(part, Greeter, "greeter")
        assert is_default(completed.greeting, Greeter.greeting) is left
        assert not is_default(completed.name, Greeter.greeting)


def test_description_is_the_same_in_every_process() -> None:
    class Plain:
        def name(self) -> str:
            return "plain"

    assert described(Plain()) == described(complete(Plain(), Greeter, "greeter")) == "Plain"


@pytest.mark.parametrize(
    ("part", "got"),
    [
        (object(), "object"),
        ("world", "str"),
        (None, "NoneType"),
        (World, "the class World; make an object of it"),
        (Heir, "the class Heir; make an object of it"),
    ],
)
def test_what_lacks_a_method_is_refused(part: Any, got: str) -> None:
    wanted = "greeter: expected an object with the method name (see ttc_fast.Greeter), got "
    with pytest.raises(TypeError, match=re.escape(wanted + got)):
        complete(part, Greeter, "greeter")


def test_all_missing_methods_are_named() -> None:
    class Two(Protocol):
        @abstractmethod
        def one(self) -> None:
            """One."""

        @abstractmethod
        def another(self) -> None:
            """Another."""

    with pytest.raises(TypeError, match=re.escape("part: expected an object with the methods another, one")):
        complete(World(), Two, "part")
