"""The server, as a worker node sees it."""

from __future__ import absolute_import, division, print_function

import os
import stat

from dirac_pilot.deadline import call_with_deadline
from dirac_pilot.errors import PilotError
from dirac_pilot.exchange import detail_of
from dirac_pilot.http import Unreachable, get_json, post_json

_MARGIN = 15.0


class Refused(PilotError):  # noqa: N818
    """The server understood, and said no.

    Attributes:
        status: Its HTTP status.
    """

    def __init__(self, status, text):
        PilotError.__init__(self, text)
        self.status = status


class Server(object):
    """Asks the server, with the node's credential, which is read each time: it may be replaced any moment.

    Args:
        settings: Those of the launcher.
    """

    def __init__(self, settings):
        self._url = settings["url"]
        self._file = settings["credential_file"]
        self._environ = dict(os.environ)
        if settings["ca_file"]:
            self._environ["DIRAC_CA_FILE"] = settings["ca_file"]

    def place(self, timeout=10.0):
        """Return what the credential is good for."""
        return self._call(lambda headers: get_json(self._at(""), timeout, self._environ, headers), timeout)

    def ask(self, request):
        """Return the answer to a request for pilots; it may take as long as the request says."""
        timeout = request["wait"] + _MARGIN
        return self._call(
            lambda headers: post_json(self._at("/ask"), request, timeout, self._environ, headers), timeout
        )

    def report(self, node, ended):
        """Say how pilots have ended; return the receipt."""
        body = {"node": node, "ended": ended}
        return self._call(lambda headers: post_json(self._at("/ended"), body, _MARGIN, self._environ, headers), _MARGIN)

    def _at(self, path):
        return self._url + "/api/pilots/node" + path

    def _call(self, function, timeout):
        """Make a call and return its answer.

        Raises:
            Unreachable: Another try may help.
            Refused: It will not, until somebody changes something.
        """
        headers = [("Authorization", "Bearer " + read_credential(self._file))]
        status, _, answer = call_with_deadline(lambda: function(headers), timeout + _MARGIN, "asking " + self._url)
        if status == 200 and isinstance(answer, dict):
            return answer
        words = "%s answered %d: %s" % (self._url, status, detail_of(answer))
        if status >= 500 or status in (200, 408, 429):
            raise Unreachable(words)
        raise Refused(status, words)


def read_credential(path):
    """Return the node's credential.

    Raises:
        PilotError: It is not there, or others could read it.
    """
    try:
        with open(path) as source:
            mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode)
            text = source.read(4096).strip()
    except (IOError, OSError) as error:
        raise PilotError("cannot read the credential %s: %s" % (path, error.strerror))
    if mode & 0o077:
        raise PilotError("others could read the credential %s (mode %04o): it must have mode 0600" % (path, mode))
    if not text or len(text.split()) != 1:
        raise PilotError("%s does not hold a credential: dirac-server node-token makes one" % path)
    return str(text)
