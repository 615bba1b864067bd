"""The pilot's one-time secret."""

from __future__ import absolute_import, division, print_function

import errno
import os
import stat

from .errors import PilotError

SECRET_FILE = "pilot.secret"  # noqa: S105 - its name
LARGEST = 4096
SHORTEST = 8  # what is shorter is no secret, and blanking it in the output would garble that


def take_secret(directory):
    """Read the secret from `pilot.secret` and remove the file, so that no payload ever finds it.

    Raises:
        PilotError: If there is none, or if others could have read it.
    """
    path = os.path.join(directory, SECRET_FILE)
    try:
        # Not through a link: it might lead to a file of somebody else's choice.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise PilotError("there is no secret: %s does not exist" % path)
        raise PilotError("cannot read the secret %s: %s" % (path, error.strerror))
    try:
        os.unlink(path)
        status = os.fstat(descriptor)
        content = os.read(descriptor, LARGEST + 1) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise PilotError("cannot take the secret %s: %s" % (path, error.strerror))
    finally:
        os.close(descriptor)
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise PilotError("others could read the secret %s (mode %04o): it must have mode 0600" % (path, mode))
    try:
        secret = str(content.decode("ascii").strip())
    except UnicodeDecodeError:
        secret = ""
    if len(secret) < SHORTEST or len(content) > LARGEST or len(secret.split()) != 1:
        raise PilotError("%s does not hold a secret: one word of ASCII, 8 to 4096 characters, is expected" % path)
    return secret
