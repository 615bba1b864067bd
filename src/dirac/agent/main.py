"""``dirac-agent SETTINGS.json``: what a pilot starts on a worker node."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from dirac.agent.job_agent import AgentSettings, JobAgent, read_settings
from dirac.agent.server import HttpPilotServer
from dirac.core.entropy import SystemEntropy
from dirac.core.errors import DiracError
from dirac.core.logging import configure
from dirac.core.time import SystemClock
from dirac.systems.workload.models import PilotStatus

_USAGE = "usage: dirac-agent SETTINGS.json   (written by the pilot)"
_TERMINATED = 143


async def _run(settings: AgentSettings) -> int:
    server = HttpPilotServer(settings)
    agent = JobAgent(settings, server=server, clock=SystemClock(), entropy=SystemEntropy())
    work = asyncio.create_task(agent.run())
    keeper = asyncio.create_task(server.keep_token())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    try:
        await work
    except asyncio.CancelledError:
        # The server takes the run back at once instead of waiting for its lease to end.
        await server.set_pilot_status(PilotStatus.ABORTED, "told to stop")
        return _TERMINATED
    finally:
        keeper.cancel()
        await server.close()
    return 0


def main() -> None:
    """Run the agent and exit: 0 no more work, 1 an error, 2 usage, 143 told to stop."""
    configure()
    if len(sys.argv) != 2:
        sys.exit(_USAGE)
    try:
        code = asyncio.run(_run(read_settings(Path(sys.argv[1]))))
    except DiracError as error:
        print(f"dirac-agent: {error}", file=sys.stderr)
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
