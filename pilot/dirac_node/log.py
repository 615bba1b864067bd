"""What the launcher says: one JSON object a line, on the standard output."""

from __future__ import absolute_import, division, print_function

import json
import os
import time

from dirac_pilot.compat import to_wire


def log(level, message, **facts):
    """Print a line; no fact is ever a secret.

    Past the buffers of Python: threads speak at the same time, and one write is one line.
    """
    line = {"time": to_wire(time.time()), "level": level, "logger": "dirac-node", "message": message}
    line.update(facts)
    try:
        os.write(1, (json.dumps(line, sort_keys=True) + "\n").encode("ascii"))
    except OSError:
        pass  # nobody reads it any more; the work goes on


def info(message, **facts):
    """Say what is going on."""
    log("INFO", message, **facts)


def warning(message, **facts):
    """Say what somebody may want to look at."""
    log("WARNING", message, **facts)
