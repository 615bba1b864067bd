from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dirac.core.errors import InvalidInputError
from dirac.formats import lfn


@pytest.mark.parametrize(
    "text", ["LFN:/astro/user/a/file.root", "lfn:/astro/user/a/file.root", "/astro/user/a/file.root"]
)
def test_prefix_is_optional_and_in_any_case(text: str) -> None:
    assert lfn.parse(text) == "/astro/user/a/file.root"
    assert lfn.vo_of(text) == "astro"


def test_prefix() -> None:
    assert lfn.is_lfn("LFN:/a/b")
    assert not lfn.is_lfn("/a/b")
    assert lfn.strip_prefix("Lfn:relative") == "relative"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "absolute"),
        ("LFN:a/b", "absolute"),
        ("/a//b", "'//'"),
        ("/a/b/", "end with '/'"),
        ("/", "'//'"),
        ("/a/../b", "'..'"),
        ("/a/./b", "'.'"),
        ("/a", "VO"),
        ("/a/b\n", "control"),
        ("/a/b\0", "control"),
        ("/a/" + "d" * 253 + "/f", "255"),
        ("/a/" + "f" * 129, "128"),
    ],
)
def test_faults(path: str, words: str) -> None:
    assert words in (lfn.fault(path) or "")
    with pytest.raises(InvalidInputError, match="logical file name"):
        lfn.parse(path)


def test_the_longest() -> None:
    assert lfn.fault("/a/" + "d" * 252 + "/" + "f" * 128) is None


@given(st.text())
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    if lfn.fault(text) is None:
        path = lfn.parse(text)
        assert path.startswith(f"/{lfn.vo_of(text)}/")
        assert lfn.parse("LFN:" + path) == path
