"""The verbs: their commands, their playbooks, their page."""

from __future__ import annotations

from pathlib import Path

import pytest

from dirac.cli.site.verbs import VERBS
from dirac.cli.tree import SITE

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_is_a_command_with_help_and_examples(name: str) -> None:
    verb = VERBS[name]
    assert name in SITE.commands
    assert verb.help
    assert any(f"dirac site {name} " in example for example in verb.examples)


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_has_its_playbook(name: str) -> None:
    assert (ROOT / f"playbooks/{name}.yml").is_file()


@pytest.mark.parametrize("name", SITE.commands)
def test_every_command_is_on_the_page_with_an_example(name: str) -> None:
    page = (ROOT / "docs/operator/site.md").read_text("utf-8")
    assert f"## {name}\n" in page
    assert f"dirac site {name}" in page.split(f"## {name}\n")[1].split("\n## ")[0]
