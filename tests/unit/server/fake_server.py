"""A server as `dirac.server.control` sees one: ``fake_server.py MODE run --settings FILE``."""

from __future__ import annotations

import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from dirac.core.errors import DiracError
from dirac.server.control import bind, hold
from dirac.server.settings import load


class Ready(BaseHTTPRequestHandler):
    """Says that it is ready."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200 if self.path == "/api/health/ready" else 404)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Be a server that works, one that ends at once, or one that never answers."""
    mode, _, _, file = sys.argv[1:]
    settings = load(Path(file))
    if mode == "ends":
        sys.exit("the oven is cold")
    with hold(settings):
        if mode == "mute":
            signal.pause()
        server = HTTPServer((settings.http.host, settings.http.port), Ready, bind_and_activate=False)
        server.socket.close()
        server.socket = bind(settings)
        server.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except DiracError as error:
        sys.exit(f"error: {error}")
