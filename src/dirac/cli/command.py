"""Commands that are imported when they are used, and help that is made without importing them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, TypeVar, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from dirac.cli.help import ENVIRONMENT, EXIT_CODES, Help
from dirac.cli.parameters import lighten
from dirac.cli.tree import TREE, Branch, Leaf, Root

Function = TypeVar("Function", bound=Callable[..., None])


def command(*examples: str) -> Callable[[Function], Function]:
    """Declare a function to be a command; the examples are lines to type, in the order to learn them."""

    def mark(function: Function) -> Function:
        vars(function)["examples"] = examples
        return function

    return mark


class Command(TyperCommand):
    """A command with our help."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, ``--help`` among them."""
        return lighten(super().get_params(ctx))

    def get_help(self, ctx: Any) -> str:
        """Return the help text, with colours; what prints it takes them away where there is no terminal."""
        page = Help()
        page.usage(ctx.get_usage())
        page.text(self.help or "")
        page.parameters(self, ctx)
        page.examples((self.epilog or "").splitlines())
        return page.print()


class Group(TyperGroup):
    """A group whose commands are in a tree and not yet imported."""

    def __init__(self, *, node: Root | Branch | None = None, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.node = node or TREE

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, ``--help`` among them."""
        return lighten(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the signature is given
        """Return the names that are shown."""
        return [name for name, node in self.node.commands.items() if not node.hidden]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Import a command, or make a group; None if there is none of that name."""
        node = self.node.commands.get(cmd_name)
        if isinstance(node, Leaf):
            return load(cmd_name, node)
        if isinstance(node, Branch):
            return Group(name=cmd_name, node=node, help=node.summary, no_args_is_help=True)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names.

        Raises:
            UsageError: There is none; the message says what comes close.
        """
        if args[0] not in self.node.commands and not args[0].startswith("-"):
            near = get_close_matches(args[0], self.list_commands(ctx), n=1, cutoff=0.5)
            advice = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"There is no command {args[0]!r}.{advice}")
        return super().resolve_command(ctx, args)

    def get_help(self, ctx: Any) -> str:
        """Return the help text of the group."""
        page = Help()
        page.usage(ctx.get_usage())
        page.text(self.node.summary)
        if isinstance(self.node, Root):
            for title, nodes in self.node.sections.items():
                page.section(title, _shown(nodes))
            page.parameters(self, ctx)
            page.section("Exit codes", EXIT_CODES)
            page.section("Environment", ENVIRONMENT)
            page.examples(self.node.examples)
        else:
            page.section("Commands", _shown(self.node.commands))
            page.text(f"More about one of them: {ctx.command_path} COMMAND --help")
        return page.print()


def _shown(nodes: Mapping[str, Leaf | Branch]) -> list[tuple[str, str]]:
    return [(name, node.summary) for name, node in nodes.items() if not node.hidden]


def load(name: str, leaf: Leaf) -> TyperCommand:
    """Import a command and make it ready for use."""
    module, _, function_name = leaf.place.partition(":")
    function = getattr(importlib.import_module(module), function_name)
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=Command, epilog="\n".join(function.examples))(function)
    made = cast("TyperCommand", get_command(app))
    made.hidden = leaf.hidden
    return made
