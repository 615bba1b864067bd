# SPDX-License-Identifier: GPL-3.0-or-later
"""Removes indices whose day, the end of their name, is longer ago than wished; run by a timer.

The policies of index management would do the same, where that plugin is installed; this needs none.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
import urllib.request
from datetime import date, datetime, timedelta, timezone
from pathlib import Path


def expired(name: str, keep: dict[str, int], today: date) -> bool:
    """Whether an index NAME-YYYY.MM.DD is to be removed; `keep` has the days for each NAME."""
    found = re.fullmatch(r"(.+)-(\d{4})\.(\d{2})\.(\d{2})", name)
    if found is None or found[1] not in keep:
        return False
    try:
        day = date(*(int(part) for part in found.groups()[1:]))
    except ValueError:
        return False
    return day < today - timedelta(days=keep[found[1]])


def main() -> None:
    """Remove what is expired, and say so."""
    settings = json.loads(Path(sys.argv[1]).read_text())
    handlers = [urllib.request.ProxyHandler({})]
    if settings["certificate"]:
        context = ssl.create_default_context(cafile=settings["ca"])
        context.load_cert_chain(settings["certificate"], settings["key"])
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)
    names = ",".join(f"{prefix}-*" for prefix in settings["keep"])
    with opener.open(f"{settings['url']}/_cat/indices/{names}?format=json&h=index", timeout=60) as answer:
        indices = [entry["index"] for entry in json.load(answer)]
    today = datetime.now(timezone.utc).date()
    for name in sorted(name for name in indices if expired(name, settings["keep"], today)):
        request = urllib.request.Request(f"{settings['url']}/{name}", method="DELETE")  # noqa: S310
        with opener.open(request, timeout=60):
            sys.stdout.write(f"removed {name}\n")


if __name__ == "__main__":
    main()
