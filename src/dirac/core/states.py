"""Life cycles as data: which state may follow which, and why a move was refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

State = TypeVar("State", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a move is not possible, in words for a person."""

    reason: str


class LifeCycle(Generic[State]):
    """A set of states and the moves between them.

    Args:
        noun: What lives this life, for messages ("job").
        moves: For every state those that may follow it. A state without successors is final.
    """

    def __init__(self, noun: str, moves: Mapping[State, frozenset[State]]) -> None:
        self._noun = noun
        self._moves = dict(moves)

    @property
    def states(self) -> frozenset[State]:
        """All states."""
        return frozenset(self._moves)

    def successors(self, state: State) -> frozenset[State]:
        """Return the states that may follow `state`."""
        return self._moves[state]

    def refusal(self, old: State, new: State) -> Refusal | None:
        """Return None if `new` may follow `old` (or is the same), else the reason."""
        if old == new or new in self._moves[old]:
            return None
        allowed = ", ".join(sorted(self._moves[old])) or "nothing, it is final"
        return Refusal(f"a {self._noun} that is {old} cannot become {new}; it may become {allowed}")
