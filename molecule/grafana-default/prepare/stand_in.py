#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for Grafana: reads its settings and provisioning as that does, and answers three questions."""

from __future__ import annotations

import base64
import configparser
import json
import re
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def value(text: str) -> str:
    """Return a setting, read from its file if it names one."""
    found = re.fullmatch(r"\$__file\{(.+)\}", text)
    return Path(found[1]).read_text("utf-8") if found else text


config = next(word.partition("=")[2] for word in sys.argv if word.startswith("--config="))
settings = configparser.ConfigParser(interpolation=None)
settings.read_string(Path(config).read_text("utf-8"))
provisioning = Path(settings["paths"]["provisioning"])
sources = (provisioning / "datasources/dirac.yaml").read_text("utf-8")
provider = (provisioning / "dashboards/dirac.yaml").read_text("utf-8")
boards = Path(re.search(r"path: (\S+)", provider)[1])
words = f"{settings['security']['admin_user']}:{value(settings['security']['admin_password'])}"
AUTHORIZATION = "Basic " + base64.b64encode(words.encode()).decode()
database = sqlite3.connect(Path(settings["paths"]["data"]) / "grafana.db")
database.execute("CREATE TABLE IF NOT EXISTS starred (uid TEXT)")
database.commit()


class Answers(BaseHTTPRequestHandler):
    """Answers requests."""

    def do_GET(self) -> None:
        """Answer one."""
        known = self.headers["Authorization"] == AUTHORIZATION
        path = self.path.partition("?")[0]
        if path == "/api/health":
            self._say(200, {"database": "ok", "version": "0"})
        elif not known and settings["auth.anonymous"]["enabled"] != "true":
            self._say(401, {"message": "Unauthorized"})
        elif path == "/api/search":
            self._say(200, [{"uid": json.loads(file.read_text())["uid"]} for file in boards.glob("*.json")])
        elif path == "/api/datasources/uid/prometheus" and re.search(r"^ *uid: prometheus$", sources, re.M):
            self._say(200, {"uid": "prometheus"})
        else:
            self._say(404, {})

    def _say(self, status: int, body: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


address = (settings["server"]["http_addr"], int(settings["server"]["http_port"]))
ThreadingHTTPServer(address, Answers).serve_forever()
