"""The reference of a server's settings, made from their structs.

Run ``python -m dirac.server.reference > docs/operator/settings.md``.
"""

from __future__ import annotations

import sys

from dirac.core.reference import tables
from dirac.server.settings import Settings

_HEAD = """\
# Settings of a server

<!-- Made by `python -m dirac.server.reference`; a test compares. -->

One TOML file says what this one server needs to know of itself. What all servers of an installation share is
[the configuration](configuration.md). A path `http.port` below is the option `port` in the table `[http]`.

    state = "/var/lib/dirac"
    [http]
    url = "http://dirac.example.org:8912"
    host = "0.0.0.0"

An option that is not known, or has a wrong type, is refused with its place; the server does not start.
"""


def reference() -> str:
    """Return the reference as Markdown: a table per section, with path, type, default and meaning."""
    return f"{_HEAD}\n{tables(Settings, '.')}"


if __name__ == "__main__":
    sys.stdout.write(reference())
