"""A pilot that somebody starts elsewhere: its secret, its token, that of its run, and how all of it ends."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from dirac.client import Client
from dirac.core.errors import NotAllowedError, UnauthenticatedError
from dirac.systems.identity.models import PilotLogin
from dirac.systems.identity.models_tokens import SecretOrder
from tests.acceptance.served import serving
from tests.acceptance.tokens import mint_all

SITE, STAMP = "DIRAC.Observatory.org", "started-elsewhere"


def test_from_the_secret_to_the_revocation(tmp_path: Path) -> None:
    with serving(tmp_path, None) as settings:
        url, tokens = settings.http.url, mint_all(settings)

        def as_(token: str) -> Client:
            return Client(url, token=token)

        with as_(tokens["operator"]) as operator, as_(tokens["user"]) as user:
            (secret,) = operator.credentials.issue_pilot_secrets(SecretOrder(SITE, "ce01", "astro"))
            with pytest.raises(NotAllowedError):
                user.credentials.issue_pilot_secrets(SecretOrder(SITE, "ce01"))
            job = user.jobs.submit('Executable = "/bin/true"; Site = "DIRAC.Observatory.org";')[0].JobID
            with Client(url, token="") as nobody:
                login = PilotLogin(pilot_stamp=STAMP, pilot_secret=secret.pilot_secret, vo="astro")
                pilot = nobody.auth.pilot_token(login).access_token
                with pytest.raises(UnauthenticatedError):
                    nobody.auth.pilot_token(PilotLogin("another", secret.pilot_secret, "astro"))
            asked = {"resource": {"site": "elsewhere"}, "request_id": "r", "wait": 10}
            matched = httpx.post(
                f"{url}/api/jobs/match", json=asked, headers=_bearer(pilot), timeout=60
            ).json()
            assert matched["job"]["job_id"] == job, "where it is, its secret says, not the pilot"
            run = matched["job"]["token"]
            (site,) = operator.credentials.holders(vo="astro").vos[0].sites
            (held,) = site.pilots
            assert (site.name, held.stamp, held.ce) == (SITE, STAMP, "ce01")
            assert [(one.job_id, one.attempt) for one in held.runs] == [(job, 1)]
            with as_(pilot) as itself:
                assert itself.pilots.renew().expires_in > 0
            operator.credentials.revoke("pilot", STAMP, vo="astro")
            beat = {str(job): {"LoadAverage": 1.0}}
            for token in (pilot, run):
                refused = httpx.patch(f"{url}/api/jobs/heartbeat", json=beat, headers=_bearer(token))
                assert refused.status_code == 401
            with as_(pilot) as itself, pytest.raises(UnauthenticatedError):
                itself.pilots.renew()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
