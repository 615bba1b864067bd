"""The end of a server's service: announced, so that nobody notices it.

A drain begins when the process is told to stop. From then on it says that it is not ready, so that balancers
send nobody any more, and closes each connection after its answer, so that clients come back elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable


class Drain:
    """Whether this process is about to end.

    Attributes:
        begun: Whether it is.
        listeners: Called when it begins, in the thread of the event loop.
    """

    def __init__(self) -> None:
        self.begun = False
        self.listeners: list[Callable[[], None]] = []

    def begin(self) -> None:
        """Announce the end; a second time changes nothing."""
        if not self.begun:
            self.begun = True
            for listener in self.listeners:
                listener()
