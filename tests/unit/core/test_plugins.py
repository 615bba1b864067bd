from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dirac.core import plugins
from dirac.core.errors import InvalidInputError

GROUP = "dirac.test_ovens"


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed extension with two plugins, one of which cannot be imported."""
    (tmp_path / "clay_ovens.py").write_text("class Clay:\n    heat = 400\n")
    metadata = tmp_path / "clay_ovens-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: clay-ovens\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[{GROUP}]\nclay = clay_ovens:Clay\nbroken = clay_ovens_missing:Oven\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    forget()
    yield
    forget()


def forget() -> None:
    plugins._found.cache_clear()
    plugins.load.cache_clear()


@pytest.mark.usefixtures("extension")
def test_a_plugin_of_an_extension_is_found_and_loaded_once() -> None:
    assert plugins.names(GROUP) == ["broken", "clay"]
    assert plugins.load(GROUP, "clay").heat == 400
    assert plugins.load(GROUP, "clay") is plugins.load(GROUP, "clay")


@pytest.mark.usefixtures("extension")
def test_the_message_lists_what_there_is() -> None:
    with pytest.raises(InvalidInputError) as caught:
        plugins.load(GROUP, "brick")
    assert str(caught.value) == (f"there is no plugin 'brick' of kind '{GROUP}'. Installed are: broken, clay")


@pytest.mark.usefixtures("extension")
def test_a_broken_plugin_harms_nobody_until_it_is_asked_for() -> None:
    assert plugins.load(GROUP, "clay")
    with pytest.raises(ModuleNotFoundError, match="clay_ovens_missing"):
        plugins.load(GROUP, "broken")


def test_no_plugins_are_none() -> None:
    assert plugins.names("dirac.no_such_kind") == []
    with pytest.raises(InvalidInputError, match="Installed are: none"):
        plugins.load("dirac.no_such_kind", "x")
