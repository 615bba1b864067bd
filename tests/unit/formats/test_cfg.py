"""Reading and printing CFG."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError
from dirac.formats.cfg import dump, parse, split

NAMES = st.from_regex(r"[A-Za-z0-9_.:@&-]([A-Za-z0-9_. :@&-]{0,8}[A-Za-z0-9_.:@&-])?", fullmatch=True)
VALUES = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=20
).map(str.strip)
SECTIONS = st.recursive(
    st.dictionaries(NAMES, VALUES, max_size=4),
    lambda inner: st.dictionaries(NAMES, VALUES | inner, max_size=4),
    max_leaves=20,
)


def test_what_cfg_looks_like() -> None:
    text = """
# a remark
Registry
{
  DefaultGroup = dirac_user, other
  DefaultGroup += third
  Users { alice { DN = /DC=ch/CN=alice = me
    } }
  Empty {
  }
  Nothing =
}
Top=1
"""
    assert parse(text) == {
        "Registry": {
            "DefaultGroup": "dirac_user, other, third",
            "Users": {"alice": {"DN": "/DC=ch/CN=alice = me"}},
            "Empty": {},
            "Nothing": "",
        },
        "Top": "1",
    }


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("A\n{\n", 3),
        ("}", 1),
        ("{", 1),
        ("A\nB = 1", 2),
        ("A", 1),
        ("A\nB\n{\n}", 2),
        ("A = 1\nA\n{\n}", 3),
        ("A\n{\n}\nA = 1", 4),
        ("= 1", 1),
        ("a/b\n{\n}", 2),
        ("A { " * 200, 1),
    ],
)
def test_what_is_no_cfg_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    assert caught.value.where == f"line {line}"


def test_a_section_that_comes_twice_is_one() -> None:
    assert parse("A\n{\n x = 1\n}\nA\n{\n y = 2\n}") == {"A": {"x": "1", "y": "2"}}


@given(SECTIONS)
@settings(deadline=None)
def test_what_is_printed_is_read_again(section: dict[str, object]) -> None:
    assert parse(dump(section)) == section


@given(st.text(st.sampled_from("aB1 ={}#+/,\n\t\\é"), max_size=60))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        section = parse(text)
    except InvalidInputError:
        return
    assert parse(dump(section)) == section


@pytest.mark.parametrize(
    "section", [{"a/b": "1"}, {"a": "x\ny"}, {"a": " x"}, {"": "1"}, {"a": 1}, {"a+": "1"}]
)
def test_what_cannot_be_printed_is_refused(section: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        dump(section)


def test_lists_have_commas() -> None:
    assert split(" a, b,,c ") == ["a", "b", "c"]
