"""The tree of commands and its help."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.main import get_command

from dirac.cli.command import Group
from dirac.cli.main import app
from dirac.cli.tree import TREE, Branch, Leaf


def leaves(nodes: Any, *path: str) -> Iterator[tuple[str, ...]]:
    for name, node in nodes.items():
        if isinstance(node, Leaf):
            yield (*path, name)
        else:
            yield from leaves(node.commands, *path, name)


LEAVES = list(leaves(TREE.commands))


def find(path: tuple[str, ...]) -> tuple[Any, typer.Context]:
    command: Any = get_command(app)
    context = typer.Context(command, info_name="dirac")
    for name in path:
        command = command.get_command(context, name)
        context = typer.Context(command, info_name=name, parent=context)
    return command, context


def help_of(path: tuple[str, ...]) -> str:
    command, context = find(path)
    return re.sub(r"\x1b\[[\d;]*m", "", command.get_help(context))


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_documents_json_and_shows_how_it_is_typed(path: tuple[str, ...]) -> None:
    shown = help_of(path)
    typed = " ".join(("dirac", *path))
    assert "--json" in shown
    examples = shown.partition("Examples:\n")[2].splitlines()
    assert any(re.search(rf"(^|\W){typed}( |$)", line) for line in examples), examples
    assert any("--json" in line for line in examples)
    assert find(path)[0].help.strip()


def parts(line: str) -> Iterator[list[str]]:
    """Give the words of each command of a line for a shell."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("();<>|&"):
            yield words
            words = []
        else:
            words.append(word)
    yield words


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_examples_are_understood(path: tuple[str, ...]) -> None:
    command, context = find(path)
    seen = 0
    for line in command.epilog.splitlines():
        for words in parts(line.partition("  # ")[0]):
            if words[: len(path) + 1] == ["dirac", *path]:
                command.make_context(path[-1], words[len(path) + 1 :], parent=context.parent)
                seen += 1
    assert seen


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_the_summary_is_that_of_the_tree(path: tuple[str, ...]) -> None:
    node: Any = TREE
    for name in path:
        node = node.commands[name]
    assert node.summary[0].isupper()
    assert not node.summary.endswith(".")
    assert len(node.summary) <= 60
    if not TREE.commands[path[0]].hidden:
        assert node.summary in help_of(path[:-1])


def test_the_help_lists_the_exit_codes_and_the_variables() -> None:
    shown = help_of(())
    for line in ("0  all is well", "5  the server does not answer", "6  a job failed", "DIRAC_URL"):
        assert line in shown


def test_hidden_groups_work_and_are_not_shown() -> None:
    assert "demo" not in help_of(())
    assert "run" in help_of(("demo",))


@pytest.mark.parametrize("name", [name for name, node in TREE.commands.items() if isinstance(node, Branch)])
def test_groups_are_made_without_imports(name: str) -> None:
    command, _ = find((name,))
    assert isinstance(command, Group)
    assert command.list_commands(None) == list(TREE.commands[name].commands)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["jb"], "Did you mean 'job'"),
        (["job", "sumbit"], "Did you mean 'submit'"),
        (["job", "zzzzzz"], "There is no command 'zzzzzz'."),
    ],
)
def test_a_wrong_word_is_answered_by_the_nearest_command(words: list[str], expected: str) -> None:
    with pytest.raises(typer.TyperException, match=expected):
        get_command(app).main(words, standalone_mode=False)
