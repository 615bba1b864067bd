"""The exchange of the one-time secret for a token."""

from __future__ import absolute_import, division, print_function

import binascii
import json
import os
import random
import time

from .compat import TEXT_TYPES, monotonic, native, to_wire
from .deadline import call_with_deadline
from .errors import PilotError, TimedOut
from .http import Unreachable, post_json

FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0
LONGEST_TRY = 30.0


def exchange_secret(settings, secret, environ, say, sleep=time.sleep, choose=random.uniform):
    """Return the token, as it goes to the agent: access_token, expires_at, perhaps refresh_token; and tries.

    A server that is absent or overloaded is asked again, ever more slowly and at random moments, since after
    an outage thousands of pilots ask at the same time.

    Raises:
        PilotError: If the server refuses, or does not give a token in time.
    """
    url = settings["url"] + "/api/pilots/token"
    body = {"pilot_stamp": settings["pilot_stamp"], "pilot_secret": secret, "vo": settings["vo"]}
    # One key for all tries: if an answer gets lost, the next try is known to be the same exchange.
    key = [("Idempotency-Key", native(binascii.hexlify(os.urandom(16)).decode("ascii")))]
    end = monotonic() + settings["exchange_seconds"]
    delay, tries = FIRST_DELAY, 0
    while True:
        tries += 1
        left = max(0.1, min(LONGEST_TRY, end - monotonic()))
        asked, wait = time.time(), 0.0
        try:
            status, headers, answer = call_with_deadline(
                lambda left=left: post_json(url, body, left, environ, key), left, "asking " + url
            )
            if status == 200:
                return token_of(answer, asked), tries
            reason = "%s answered %d: %s" % (url, status, detail_of(answer))
            if status < 500 and status != 429:
                raise PilotError(reason)
            wait = seconds_of(headers.get("retry-after"))
        except (Unreachable, TimedOut) as error:
            reason = str(error)
        wait = max(wait, choose(delay / 2, delay))
        if monotonic() + wait >= end:
            raise PilotError("no token within %g s, %d tries; last: %s" % (settings["exchange_seconds"], tries, reason))
        say("%s; trying again in %.1f s" % (reason, wait))
        sleep(wait)
        delay = min(LONGEST_DELAY, 2 * delay)


def token_of(answer, asked):
    """Return the token in the server's answer; its life is counted from the moment of asking."""
    answer = answer if isinstance(answer, dict) else {}
    access, expires_in = answer.get("access_token"), answer.get("expires_in")
    usable = isinstance(access, TEXT_TYPES) and access and isinstance(expires_in, (int, float))
    if not usable or str(answer.get("token_type", "Bearer")).lower() != "bearer":
        raise PilotError("the server answered 200, but not with a bearer token; is the URL right?")
    token = {"access_token": access, "expires_at": to_wire(asked + expires_in)}
    if answer.get("refresh_token"):
        token["refresh_token"] = answer["refresh_token"]
    return token


def detail_of(answer):
    """Return the server's words for a person."""
    detail = answer.get("detail") if isinstance(answer, dict) else answer
    if detail is None:
        return "(no detail)"
    return (detail if isinstance(detail, TEXT_TYPES) else json.dumps(detail, sort_keys=True))[:1000]


def seconds_of(retry_after):
    """Return the seconds of a Retry-After header; 0 if there is none or it holds a date."""
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0
