"""What is sent to each route: a request that reaches for what belongs to alice of the VO astro.

A route that is not named here gets its path's values and no body: whoever passes its door is then told that
the body is missing, which shows in the table as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Values = dict[str, Any]
ALICE = "virtual_organisations/astro/users/alice"


class Request(NamedTuple):
    """One request.

    Attributes:
        body: Its JSON body, if it has one.
        params: Of its address.
        shows: What an answer has to show, to be more than an empty one.
        absent: What an answer shows that says that there is no such thing.
    """

    body: Any = None
    params: dict[str, Any] | None = None
    shows: str = ""
    absent: str = ""


def _of_job(name: str = "job_id") -> Callable[[Values], list[dict[str, Any]]]:
    return lambda v: [{"parameter": "JobID", "operator": "eq", "value": v[name]}]


_job, _fresh = _of_job(), _of_job("fresh")


def _fresh_ids(v: Values) -> Request:
    return Request({"job_ids": [v["fresh"]]})


def _of_pilot(v: Values) -> list[dict[str, Any]]:
    return [{"parameter": "PilotStamp", "operator": "eq", "value": v["stamp"]}]


REQUESTS: dict[str, Callable[[Values], Request]] = {
    "GET /api/auth/clients": lambda v: Request(shows=v["client_id"]),
    "POST /api/auth/clients": lambda v: Request({"client_id": v["unique"], "vo": "astro"}),
    "GET /api/auth/holders": lambda v: Request(shows="alice"),
    "POST /api/auth/revocations": lambda v: Request({"kind": "user", "name": "zoe", "vo": "astro"}),
    "POST /api/pilots/secrets": lambda v: Request({"site": v["site"], "ce": "farm", "vo": "astro"}),
    "GET /api/proxies": lambda v: Request(shows=v["kept"]),
    "PUT /api/proxies/requests/{proxy_id}": lambda v: Request({"chain": v["chain"]}),
    "POST /api/proxies/delegations": lambda v: Request(
        {"csr": v["csr"], "vo": "astro", "sub": "alice", "dirac_group": "astro_user"}
    ),
    "GET /api/auth/refresh-tokens": lambda v: Request(shows=v["jti"]),
    "GET /api/auth/who-can": lambda v: Request(
        params={"verb": "kill", "object": f"job:{v['job_id']}"}, shows="alice"
    ),
    "GET /api/config/diff": lambda v: Request(
        params={"old": 0, "new": 1}, shows="virtual_organisations/astro"
    ),
    "GET /api/config/": lambda v: Request(shows="astro"),
    "GET /api/config/tree": lambda v: Request(shows="astro"),
    "GET /api/config/blame": lambda v: Request(params={"key": ALICE}, shows="alice"),
    "GET /api/config/explain": lambda v: Request(params={"key": ALICE}, shows="alice"),
    "GET /api/config/export": lambda v: Request(shows="astro_user"),
    "GET /api/config/files": lambda v: Request(shows="astro.yaml"),
    "GET /api/config/log": lambda v: Request(shows='"matrix"'),
    "POST /api/config/apply": lambda v: Request({"files": {"astro.yaml": v["astro"]}, "dry_run": True}),
    "POST /api/config/import": lambda v: Request({"text": "Registry { }"}),
    "POST /api/config/rollback": lambda v: Request({"version": 1}),
    "POST /api/audit/search": lambda v: Request(
        {"search": [{"parameter": "RequestID", "operator": "eq", "value": v["refused"]}]}, shows="AuditID"
    ),
    "POST /api/jobs/jdl": lambda v: Request(['Executable = "/bin/true";']),
    "POST /api/jobs/jdl/check": lambda v: Request(['Executable = "/bin/true";']),
    "POST /api/jobs/search": lambda v: Request({"search": _job(v)}, shows="JobID"),
    "POST /api/jobs/export": lambda v: Request({"search": _job(v)}, shows="JobID"),
    "POST /api/jobs/summary": lambda v: Request({"grouping": ["Status"], "search": _job(v)}, shows="count"),
    "POST /api/jobs/at": lambda v: Request({"job_ids": [v["job_id"]], "time": v["soon"]}, shows="Status"),
    "POST /api/jobs/match": lambda v: Request(
        {"resource": {"site": "DIRAC.Nowhere.org"}, "request_id": v["unique"]}
    ),
    "PATCH /api/jobs/status": lambda v: Request(
        {str(v["job_id"]): {v["soon"]: {"ApplicationStatus": "Working", "Source": "matrix"}}}
    ),
    "PATCH /api/jobs/heartbeat": lambda v: Request({str(v["job_id"]): {"LoadAverage": 1}}, absent="Kill"),
    "PATCH /api/jobs/metadata": lambda v: Request({str(v["job_id"]): {"Site": "DIRAC.Observatory.org"}}),
    "POST /api/jobs/kill": _fresh_ids,
    "POST /api/jobs/delete": _fresh_ids,
    "POST /api/jobs/reschedule": _fresh_ids,
    "POST /api/jobs/hold": _fresh_ids,
    "POST /api/jobs/release": _fresh_ids,
    "POST /api/jobs/bulk/{verb}/preview": lambda v: Request({"search": _fresh(v)}, shows='"count":1'),
    "POST /api/jobs/bulk/{verb}": lambda v: Request(
        {"search": _fresh(v), "until": v["fresh"]}, shows=str(v["fresh"])
    ),
    "POST /api/jobs/sandbox": lambda v: Request(v["sandbox"]),
    "GET /api/jobs/sandbox": lambda v: Request(params={"pfn": v["pfn"]}),
    "POST /api/jobs/sandbox/unassign": lambda v: Request({"job_ids": [v["fresh"]]}),
    "PATCH /api/jobs/{job_id}/sandbox/output": lambda v: Request(v["pfn"]),
    "POST /api/pilots/": lambda v: Request({"pilot_stamp": v["unique"], "vo": "astro"}),
    "PATCH /api/pilots/metadata": lambda v: Request({v["stamp"]: {"StatusReason": "seen"}}),
    "POST /api/pilots/search": lambda v: Request({"search": _of_pilot(v)}, shows="PilotStamp"),
    "POST /api/pilots/summary": lambda v: Request(
        {"grouping": ["VO"], "search": _of_pilot(v)}, shows="count"
    ),
    "GET /api/pilots/explain": lambda v: Request(params={"pilot": v["stamp"]}),
    "POST /api/pilots/node/ask": lambda v: Request({"node": "wn1", "request_id": v["unique"]}),
    "POST /api/pilots/node/ended": lambda v: Request({"node": "wn1", "ended": {}}),
}
