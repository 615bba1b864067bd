"""Help texts: short lines, a little colour, no library."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from shutil import get_terminal_size
from typing import Any

from typer import style

_WIDEST = 100
_INDENT = "  "
_NAMES = 30

EXIT_CODES = (
    ("0", "all is well"),
    ("1", "an error"),
    ("2", "wrong usage, or input that is refused"),
    ("3", "not found"),
    ("4", "not logged in, or not allowed"),
    ("5", "the server does not answer"),
    ("6", "a job failed"),
    ("7", "the time that was given is over"),
)
ENVIRONMENT = (
    ("DIRAC_URL", "the server, for instance https://dirac.example.org"),
    ("DIRAC_VO", "the virtual organisation, if not that of the last login"),
    ("DIRAC_CREDENTIALS", "the file of your logins"),
    ("DIRAC_TOKEN_FILE", "a file with an access token, to use instead of a login"),
    ("X509_USER_PROXY", "the file of your proxy, if not /tmp/x509up_u<uid>"),
    ("DIRAC_CA_FILE", "authorities of the server's certificate, beside those of this machine"),
)


class Help:
    """One page of help, built from top to bottom."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._width = min(get_terminal_size().columns, _WIDEST)

    def usage(self, line: str) -> None:
        """Add how the command is typed."""
        words = " ".join(line.removeprefix("Usage:").split())
        # What must be given stands as it is; only what may be left out has brackets.
        self._lines.append(style("Usage:", bold=True) + " " + words.replace("{", "").replace("}", ""))

    def text(self, text: str) -> None:
        """Add paragraphs; an indented paragraph keeps its lines."""
        for paragraph in text.strip().split("\n\n"):
            self._lines.append("")
            if paragraph.startswith((" ", "-", "*")):
                self._lines += paragraph.splitlines()
            else:
                self._lines += textwrap.wrap(" ".join(paragraph.split()), self._width)

    def section(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Add names with what they mean."""
        if not rows:
            return
        self._lines += ["", style(f"{title}:", bold=True)]
        column = min(max(len(name) for name, _ in rows), _NAMES) + 2
        for name, meaning in rows:
            lines = textwrap.wrap(meaning, max(self._width - column - len(_INDENT), 20)) or [""]
            start = style(name, fg="cyan")
            if len(name) > column - 2:
                self._lines.append(_INDENT + start)
                start, padding = "", column
            else:
                padding = column - len(name)
            self._lines.append((_INDENT + start + " " * padding + lines[0]).rstrip())
            self._lines += [_INDENT + " " * column + line for line in lines[1:]]

    def parameters(self, command: Any, ctx: Any) -> None:
        """Add the arguments and options of a command."""
        records: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in command.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                name, meaning = record
                if parameter.param_type_name == "argument":
                    name = name.partition(" <")[0]
                records[parameter.param_type_name].append((name, meaning.replace("[required]", "").rstrip()))
        self.section("Arguments", records["argument"])
        self.section("Options", records["option"])

    def examples(self, lines: Sequence[str]) -> None:
        """Add lines to type; what follows a ``#`` is shown quietly."""
        if not lines:
            return
        self._lines += ["", style("Examples:", bold=True)]
        width = max((len(line.partition("  # ")[0]) for line in lines if "  # " in line), default=0)
        for line in lines:
            typed, _, remark = line.partition("  # ")
            quiet = " " * (width - len(typed)) + style(f"  # {remark}", dim=True) if remark else ""
            self._lines.append(_INDENT + style(typed, fg="green") + quiet)

    def print(self) -> str:
        """Return the page."""
        return "\n".join(self._lines)
