"""A server that answers the command line's questions from a few dictionaries, on a real socket."""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

NOW = "2026-01-31T12:00:00.000000Z"
TOKEN = "access-1"
OFFER = {
    "cpu_time": 86400,
    "max_ram": 4000,
    "processors": 8,
    "gpus": 0,
    "whole_node": False,
    "platforms": [],
    "tags": ["SSD"],
    "required_tags": [],
}
PLACE = {
    "vo": "astro",
    "own_only": False,
    "waiting": 7,
    "fitting": 2,
    "at_least": False,
    "text": "Of 7 waiting jobs of astro, 2 fit.",
    "reasons": [
        {
            "reason": "MinRAM",
            "jobs": 5,
            "jobs_alone": 4,
            "wanted": "8000",
            "offered": "4000",
            "text": "5 jobs ask for 8000; offered is 4000.",
        },
        {"reason": "NoPilot", "jobs": 2, "jobs_alone": 2, "text": "2 jobs fit, and no pilot is there."},
    ],
}


def job(
    job_id: int, status: str = "Waiting", minor: str = "Pilot Agent Submission", **more: Any
) -> dict[str, Any]:
    return {
        "JobID": job_id,
        "Status": status,
        "MinorStatus": minor,
        "ApplicationStatus": "Unknown",
        "Site": "ANY",
        "JobName": f"job-{job_id}",
        "JobGroup": "demo",
        "Owner": "alice",
        "SubmissionTime": NOW,
        **more,
    }


@dataclass
class State:
    """What the server knows; tests fill it in and look at it."""

    jobs: dict[int, dict[str, Any]] = field(default_factory=dict)
    pilots: list[dict[str, Any]] = field(default_factory=list)
    parameters: dict[int, dict[str, str]] = field(default_factory=dict)
    outputs: dict[int, dict[str, bytes]] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    versions: list[str] = field(default_factory=lambda: ["a: 1\n"])
    searches: list[dict[str, Any]] = field(default_factory=list)
    submitted: list[str] = field(default_factory=list)
    uploads: dict[str, bytes] = field(default_factory=dict)
    confirmed: dict[str, str] = field(default_factory=dict)
    killed: list[int] = field(default_factory=list)
    retried: list[str] = field(default_factory=list)
    passwords: dict[str, str] = field(default_factory=lambda: {"alice": "open sesame", "bob": "swordfish"})
    refusal: tuple[int, dict[str, Any]] | None = None
    on_search: Any = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_id(self) -> int:
        return max(self.jobs, default=0) + 1


def _fits(row: dict[str, Any], condition: dict[str, Any]) -> bool:
    if "or" in condition:
        return any(_fits(row, each) for each in condition["or"])
    if "not" in condition:
        return not _fits(row, condition["not"])
    value = row.get(condition["parameter"])
    match condition["operator"]:
        case "eq":
            return value == condition["value"]
        case "neq":
            return value != condition["value"]
        case "in":
            return value in condition["values"]
        case "gt":
            return value is not None and value > condition["value"]
        case "lt":
            return value is not None and value < condition["value"]
        case "like":
            return re.fullmatch(re.escape(condition["value"]).replace("%", ".*"), str(value)) is not None
        case "regex":
            return re.search(condition["value"], str(value)) is not None
    raise AssertionError(condition)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: State

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PATCH(self) -> None:
        self._answer("PATCH")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def send(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = value if isinstance(value, bytes) else b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def fail(self, status: int, detail: str, code: str = "") -> None:
        self.send({"detail": detail, "error": code}, status)

    def _answer(self, method: str) -> None:
        length = int(self.headers.get("content-length", "0"))
        self.content = self.rfile.read(length)
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        state = self.state
        with state.lock:
            if state.refusal is not None:
                return self.send(state.refusal[1], state.refusal[0])
            is_open = url.path.startswith(("/.well-known", "/api/auth", "/api/health", "/store"))
            if not is_open and self.headers.get("authorization") != f"Bearer {TOKEN}":
                return self.fail(401, "this needs an access token", "unauthenticated")
            for pattern, name in ROUTES:
                if (found := re.fullmatch(pattern, f"{method} {url.path}")) is not None:
                    return getattr(self, name)(*found.groups())
            self.fail(404, f"no route {method} {url.path}", "not_found")
        return None

    @property
    def body(self) -> Any:
        return json.loads(self.content)

    @property
    def form(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(self.content.decode()).items()}

    def known(self, number: str) -> dict[str, Any] | None:
        row = self.state.jobs.get(int(number))
        if row is None:
            self.fail(404, f"there is no job {number}, or none that you may see", "not_found")
        return row

    # identity

    def device(self) -> None:
        words = dict(word.partition(":")[::2] for word in self.query["scope"].split())
        code = f"CODE-{words['vo']}-{words.get('group', '')}"
        self.send(
            {
                "user_code": code,
                "device_code": f"device:{code}",
                "verification_uri": "http://here/api/auth/device",
                "verification_uri_complete": f"http://here/api/auth/device?user_code={code}",
                "expires_in": 60,
                "interval": 1,
            }
        )

    def confirm(self) -> None:
        form = self.form
        if self.state.passwords.get(form["username"]) != form["password"]:
            return self.fail(401, "user name or password is wrong", "unauthenticated")
        self.state.confirmed[form["user_code"]] = form["username"]
        self.send(None, 303, {"Location": "/api/auth/device/complete/finished"})
        return None

    def token(self) -> None:
        code = self.form.get("device_code", "").removeprefix("device:")
        if code not in self.state.confirmed:
            return self.send({"error": "authorization_pending"}, 400)
        self.send(
            {"access_token": TOKEN, "expires_in": 3600, "token_type": "Bearer", "refresh_token": "refresh-1"}
        )
        return None

    def revoke(self) -> None:
        self.send({})

    def userinfo(self) -> None:
        if self.headers.get("authorization") != f"Bearer {TOKEN}":
            return self.fail(401, "this needs an access token", "unauthenticated")
        code, user = next(iter(self.state.confirmed.items()), ("CODE-astro-", "alice"))
        _, vo, group = code.split("-")
        self.send(
            {
                "sub": user,
                "vo": vo,
                "dirac_group": group or f"{vo}_user",
                "policies": {},
                "properties": ["NormalUser"],
                "preferred_username": user,
            }
        )
        return None

    # jobs

    def rehearse(self) -> None:
        fits = {"jobs": 1, "name": "good", "fitting": 1, "slots": 9, "requirements": []}
        effect = {"requirement": "CPUTime", "wanted": "9", "removes": 1, "removes_alone": 1, "examples": []}
        change = {"change": {"CPUTime": "5"}, "queues": 1, "text": "If you lower CPUTime to 5, 1 would fit."}
        unfit = fits | {
            "fitting": 0,
            "slots": 0,
            "requirements": [effect],
            "suggestion": change,
            "places": [],
        }
        found = {
            "jobs": 3,
            "at_once": 2,
            "prepared_first": 1,
            "not_looked_at": 0,
            "dependencies": 0,
            "queues": 1,
            "classes": [fits | {"places": [{"site": "LCG.A.ch", "queues": 1, "slots": 9}]}, unfit],
            "more_classes": 0,
            "obstacles": [{"jobs": 1, "minor_status": "Input Data Not Available", "detail": "1 of 1"}],
        }
        self.send(found)

    def submit(self) -> None:
        accepted = []
        for text in self.body:
            self.state.submitted.append(text)
            for _ in range(int((re.search(r"Parameters\s*=\s*(\d+)", text) or [0, "1"])[1])):
                job_id = self.state.next_id()
                self.state.jobs[job_id] = job(job_id)
                accepted.append(
                    {"JobID": job_id, "Status": "Received", "MinorStatus": "Job accepted", "TimeStamp": NOW}
                )
        self.send(accepted, 201)

    def _search(self, rows: list[dict[str, Any]], key: str) -> None:
        wanted = self.body
        self.state.searches.append(wanted)
        rows = [row for row in rows if all(_fits(row, each) for each in wanted.get("search", []))]
        for order in reversed(wanted.get("sort") or [{"parameter": key}]):
            rows.sort(key=lambda row: row[order["parameter"]], reverse=order.get("direction") == "desc")
        size, page = int(self.query.get("per_page", 100)), int(self.query.get("page", 1))
        if re.search(r"[?&]cursor=", self.path):
            begin = int(self.query.get("cursor", 0))  # here it is the number of rows before
            names = wanted.get("parameters") or (rows[0] if rows else [])
            part = [{name: row.get(name) for name in names} for row in rows[begin : begin + size]]
            headers = {"Next-Cursor": str(begin + size)} if len(rows) > begin + size else {}
            self.send(part, 206 if headers else 200, headers)
            return
        first, total = (page - 1) * size, len(rows)
        shown = rows[first : first + size]
        if (names := wanted.get("parameters")) is not None:
            shown = [{name: row.get(name) for name in names} for row in shown]
        headers = {"Content-Range": f"jobs {first}-{first + len(shown) - 1}/{total}"}
        partial = len(shown) < total
        self.send(shown, 206 if partial else 200, headers if partial else None)

    def search_jobs(self) -> None:
        self._search(list(self.state.jobs.values()), "JobID")
        if self.state.on_search is not None:
            self.state.on_search(self.state)

    def search_pilots(self) -> None:
        self._search(list(self.state.pilots), "PilotID")

    def _summary(self, rows: list[dict[str, Any]]) -> None:
        wanted = self.body
        self.state.searches.append(wanted)
        counts: dict[tuple[Any, ...], int] = {}
        for row in rows:
            if all(_fits(row, each) for each in wanted.get("search", [])):
                key = tuple(row[name] for name in wanted["grouping"])
                counts[key] = counts.get(key, 0) + 1
        self.send(
            [dict(zip(wanted["grouping"], key, strict=True)) | {"count": n} for key, n in counts.items()]
        )

    def sum_jobs(self) -> None:
        self._summary(list(self.state.jobs.values()))

    def sum_pilots(self) -> None:
        self._summary(self.state.pilots)

    def change(self, verb: str) -> None:
        wanted = self.body["job_ids"]
        found = [job_id for job_id in wanted if job_id in self.state.jobs]
        if not found:
            return self.fail(404, f"there is no job {wanted[0]}, or none that you may see", "not_found")
        for job_id in found:
            self.state.jobs[job_id]["Status"] = {"kill": "Killed", "delete": "Deleted"}.get(verb, "Waiting")
        self.state.killed += found
        failed = {job_id: {"detail": "not found"} for job_id in wanted if job_id not in found}
        self.send({"success": {job_id: {"Status": "Killed"} for job_id in found}, "failed": failed})
        return None

    def log(self, number: str) -> None:
        if (row := self.known(number)) is not None:
            states = ["Received", "Waiting"] + ([row["Status"]] if row["Status"] != "Waiting" else [])
            entry = {"ApplicationStatus": "Unknown", "StatusTime": NOW, "Source": "JobManager"}
            self.send([entry | {"Status": state, "MinorStatus": row["MinorStatus"]} for state in states])

    def jdl(self, number: str) -> None:
        if self.known(number) is not None:
            self.send({"JobID": int(number), "jdl": '[ Executable = "/bin/echo"; ]'})

    def params(self, number: str) -> None:
        if self.known(number) is not None:
            self.send(self.state.parameters.get(int(number), {}))

    def peek(self, number: str) -> None:
        if self.known(number) is not None:
            self.send({"JobID": int(number), "attempt": 1, "text": "the last line", "time": NOW})

    def shadow(self) -> None:
        report = {"vo": "astro", "since": NOW, "percent": 10, "decisions": 8, "differing": 2}
        groups = [{"group": "users", "present": 6, "candidate": 5}]
        self.send([report | {"kinds": {"Same": 6, "NoJob": 2}, "groups": groups}])

    def explain_pilot(self) -> None:
        self.send(
            PLACE
            | {
                "pilot_stamp": "5f0c",
                "pilot_reference": "slurm://cluster/7",
                "status": "Running",
                "status_reason": "",
                "site": "X",
                "ce": "cluster",
                "queue": "short",
                "offer": OFFER,
                "measured": NOW,
            }
        )

    def explain_site(self, site: str) -> None:
        queue = {"ce": "cluster", "queue": "short", "offer": OFFER, "fitting": 2, "takes_pilots": "full"}
        pilots = {"pilots_waiting": 1, "pilots_idle": 4, "pilots_busy": 5}
        limit = {"name": "sim", "max_running": 9, "delay": 0, "running": 8, "waiting": 2, "closed": None}
        more = {"only_here": 1, "jobs": {"Running": 8}, "queues": [queue | pilots], "limits": [limit]}
        self.send(PLACE | more | {"site": site})

    def explain(self, number: str) -> None:
        if (row := self.known(number)) is not None:
            self.send(
                {
                    "job_id": int(number),
                    "status": row["Status"],
                    "minor_status": row["MinorStatus"],
                    "text": "The job cannot run: none of the 1 queues of astro fits its requirements.",
                    "queues": 1,
                    "fitting": 0,
                    "requirements": [
                        {
                            "requirement": "Tags",
                            "wanted": "Cray, GPU",
                            "removes": 1,
                            "removes_alone": 0,
                            "examples": ["telescope/default offers no tags"],
                        }
                    ],
                    "suggestion": {
                        "change": {"Tags": ""},
                        "queues": 1,
                        "text": "If you drop the tags Cray, GPU, 1 queue would fit.",
                    },
                }
            )

    def sandboxes(self, number: str) -> None:
        if self.known(number) is not None:
            self.send({"Input": [], "Output": self._outputs(number)})

    def outputs(self, number: str) -> None:
        if self.known(number) is not None:
            self.send(self._outputs(number))

    def _outputs(self, number: str) -> list[str]:
        return [f"SB:SandboxSE|/S3/sandboxes/{number}.tar.gz"] if int(number) in self.state.outputs else []

    def initiate(self) -> None:
        checksum = self.body["checksum"]
        known = checksum in self.state.uploads
        target = {"url": f"/store/{checksum}", "fields": {"key": checksum}}
        self.send({"pfn": f"/S3/sandboxes/{checksum}.tar.gz", **({} if known else target)})

    def upload(self, checksum: str) -> None:
        boundary = b"--" + self.headers["content-type"].partition("boundary=")[2].encode()
        part = next(part for part in self.content.split(boundary) if b'name="file"' in part)
        archive = part.partition(b"\r\n\r\n")[2][:-2]
        assert hashlib.sha256(archive).hexdigest() == checksum
        self.state.uploads[checksum] = archive
        self.send(None, 204)

    def where(self) -> None:
        self.send({"url": "/store/" + self.query["pfn"].rpartition("/")[2], "expires_in": 60})

    def download(self, number: str) -> None:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, content in self.state.outputs[int(number)].items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        self.send(packed.getvalue())

    # configuration and background work

    def tree(self) -> None:
        version = int(self.query.get("version", len(self.state.versions)))
        if not 1 <= version <= len(self.state.versions):
            return self.fail(404, f"there is no version {version}", "not_found")
        self.send({"version": version, "text": self.state.versions[version - 1], "tree": {}})
        return None

    def diff(self) -> None:
        old, new = int(self.query["old"]), int(self.query.get("new", len(self.state.versions)))
        self.send(self._changes(self.state.versions[old - 1], self.state.versions[new - 1]))

    def _changes(self, old: str, new: str) -> list[dict[str, Any]]:
        return [] if old == new else [{"path": "sites/a", "old": old.strip(), "new": new.strip()}]

    def apply(self) -> None:
        request, versions = self.body, self.state.versions
        if "wrong" in request["text"]:
            place = f"{request['file']} line 1"
            body = {"detail": f"{place}: no such option 'wrong'", "error": "invalid_input", "where": place}
            return self.send(body, 400)
        changes = self._changes(versions[-1], request["text"])
        if request.get("expected_version") not in (None, len(versions)):
            return self.fail(409, "the configuration is at another version", "conflict")
        if changes and not request.get("dry_run"):
            versions.append(request["text"])
        number = len(versions) + bool(changes and request.get("dry_run"))
        self.send({"version": number, "changes": changes, "files": ["configuration.yml"] if changes else []})
        return None

    def rollback(self) -> None:
        versions = self.state.versions
        changes = self._changes(versions[-1], versions[self.body["version"] - 1])
        versions.append(versions[self.body["version"] - 1])
        self.send({"version": len(versions), "changes": changes})

    def versions(self) -> None:
        entry = {"digest": "0", "time": NOW, "author": "astro:alice", "comment": "first"}
        self.send([entry | {"number": number + 1} for number in range(len(self.state.versions))])

    def schema(self) -> None:
        self.send({"$ref": "#/$defs/Tree", "$defs": {"Tree": {"type": "object"}}})

    def tasks(self) -> None:
        self.send([task for task in self.state.tasks if task["state"] == self.query["state"]])

    def retry(self, entry: str) -> None:
        self.state.retried.append(entry)
        self.send(None, 204)


ROUTES = [
    (r"POST /api/auth/device", "device"),
    (r"POST /api/auth/device/confirm", "confirm"),
    (r"POST /api/auth/token", "token"),
    (r"POST /api/auth/revoke", "revoke"),
    (r"GET /api/auth/userinfo", "userinfo"),
    (r"POST /api/jobs/jdl", "submit"),
    (r"POST /api/jobs/jdl/check", "rehearse"),
    (r"POST /api/jobs/search", "search_jobs"),
    (r"POST /api/jobs/summary", "sum_jobs"),
    (r"POST /api/jobs/(kill|delete|reschedule)", "change"),
    (r"GET /api/jobs/(\d+)/logging", "log"),
    (r"GET /api/jobs/(\d+)/jdl", "jdl"),
    (r"GET /api/jobs/(\d+)/parameters", "params"),
    (r"GET /api/jobs/(\d+)/peek", "peek"),
    (r"GET /api/jobs/(\d+)/explain", "explain"),
    (r"GET /api/jobs/(\d+)/sandbox", "sandboxes"),
    (r"GET /api/jobs/(\d+)/sandbox/output", "outputs"),
    (r"POST /api/jobs/sandbox", "initiate"),
    (r"GET /api/jobs/sandbox", "where"),
    (r"POST /store/(\w+)", "upload"),
    (r"GET /store/(\d+)\.tar\.gz", "download"),
    (r"GET /api/jobs/shadow", "shadow"),
    (r"GET /api/pilots/explain", "explain_pilot"),
    (r"GET /api/sites/([^/]+)/explain", "explain_site"),
    (r"POST /api/pilots/search", "search_pilots"),
    (r"POST /api/pilots/summary", "sum_pilots"),
    (r"GET /api/config/tree", "tree"),
    (r"GET /api/config/diff", "diff"),
    (r"GET /api/config/log", "versions"),
    (r"GET /api/config/schema", "schema"),
    (r"POST /api/config/apply", "apply"),
    (r"POST /api/config/rollback", "rollback"),
    (r"GET /api/tasks", "tasks"),
    (r"POST /api/tasks/([\w-]+)/retry", "retry"),
]


class FakeServer:
    """The server, in a thread of its own."""

    def __init__(self) -> None:
        self.state = State()
        handler = type("Bound", (Handler,), {"state": self.state})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
