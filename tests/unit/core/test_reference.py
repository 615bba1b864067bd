"""References of options: every kind of option, by an example of each."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dirac.core.reference import sections, silent, tables


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Shelf(msgspec.Struct, frozen=True):
    """A shelf. And more about it."""

    colour: Annotated[Colour, Meta(description="What it looks like")] = Colour.RED
    books: Annotated[list[str], Meta(description="Titles")] = []
    extra: Annotated[dict[str, Any], Meta(description="Whatever else")] = {}


class Room(msgspec.Struct, frozen=True, rename={"order_": "order"}):
    """A room."""

    name: Annotated[str, Meta(description="Its name")]
    shelves: Annotated[
        dict[Annotated[str, Meta(title="shelf")], Shelf], Meta(description="What stands in it")
    ] = {}
    first: Shelf = Shelf()
    order_: Annotated[Literal["up", "down"], Meta(description="Which way")] = "up"
    age: Annotated[int, Meta(ge=0, le=9, description="In years")] = 1
    lit: Annotated[bool, Meta(description="Light")] = True
    key: Annotated[str | None, Meta(description="Where the key is")] = None


class Quiet(msgspec.Struct):
    """Says nothing of its options."""

    size: Annotated[int, Meta(ge=0, le=9)] = 1
    room: Annotated[dict[str, int], Meta(description="Numbers")] = {}


def test_sections_have_paths_with_the_names_of_their_keys() -> None:
    assert [path for path, _ in sections(Room)] == ["", "shelves/<shelf>", "first"]
    assert [path for path, _ in sections(Room, ".")] == ["", "shelves.<shelf>", "first"]


def test_every_kind_of_option_has_its_row() -> None:
    text = tables(Room)
    for row in (
        "| `name` | text | required | Its name |",
        "| `shelves` | sections | `{}` | What stands in it |",
        "| `first` | section | its defaults | A shelf. And more about it |",
        '| `order` | `down`, `up` | `"up"` | Which way |',
        "| `age` | number from 0 to 9 | `1` | In years |",
        "| `lit` | `true` or `false` | `true` | Light |",
        "| `key` | text or nothing |  | Where the key is |",
        '| `shelves/<shelf>/colour` | `red`, `blue` | `"red"` | What it looks like |',
        "| `first/books` | list of text | `[]` | Titles |",
        "| `first/extra` | mapping | `{}` | Whatever else |",
    ):
        assert row in text.splitlines()


def test_options_without_a_meaning_are_named() -> None:
    assert silent(Room) == []
    assert silent(Quiet) == ["size"]
