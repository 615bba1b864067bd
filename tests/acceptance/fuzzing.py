"""Sends a server whatever its own description allows, and what it forbids, as everybody.

Faults are collected instead of shrunk: the request is in the report as a command to repeat it with.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
BY_JOB = ("/api/jobs/status", "/api/jobs/heartbeat", "/api/jobs/metadata")
LAST = ("/api/config/apply", "/api/config/rollback")


def chosen_seed() -> int:
    """Return the seed of this run: always the same, or ``DIRAC_FUZZ_SEED``."""
    chosen = int(os.environ.get("DIRAC_FUZZ_SEED", "2"))
    print(f"DIRAC_FUZZ_SEED={chosen}")
    return chosen


@dataclass
class Fuzzer:
    """A server, those who ask it, and what it got wrong.

    Attributes:
        url: Address of the server.
        callers: Their access tokens by name; None for no token.
        job_ids: Jobs that exist; half of the requests aim at them, because numbers are seldom guessed.
    """

    url: str
    callers: Mapping[str, str | None]
    job_ids: Sequence[int] = ()
    requests: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    faults: dict[tuple[str, str], str] = field(default_factory=dict)

    def run(self, number: int, *, examples: int, seconds: float) -> None:
        """Try every operation as everybody: once in any case, then again until the time is over."""
        deadline = time.monotonic() + seconds
        schema = schemathesis.openapi.from_url(f"{self.url}/api/openapi.json")
        operations = [result.ok() for result in schema.get_all_operations()]
        operations.sort(key=lambda operation: operation.path in LAST)
        strategies = [
            st.one_of([operation.as_strategy(generation_mode=mode) for mode in MODES])
            for operation in operations
        ]
        with requests.Session() as session:
            for turn in itertools.count(number):
                for strategy in strategies:
                    if turn != number and time.monotonic() > deadline:
                        return
                    self._try(strategy, session, turn, examples)

    def _try(
        self, cases: st.SearchStrategy[Case], session: requests.Session, number: int, examples: int
    ) -> None:
        @seed(number)
        @settings(
            max_examples=examples,
            phases=[Phase.generate],
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=cases, aim=st.sampled_from([None, *self.job_ids]))
        def once(case: Case, aim: int | None) -> None:
            if aim is not None:
                _aim(case, aim)
            for caller in self.callers:
                self._send(case, session, caller)

        once()

    def _send(self, case: Case, session: requests.Session, caller: str) -> None:
        token = self.callers[caller]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        response = case.call(session=session, headers=headers, timeout=60)
        self.requests += 1
        self.statuses[response.status_code] = self.statuses.get(response.status_code, 0) + 1
        try:
            case.validate_response(response, checks=CHECKS, headers=headers)
        except FailureGroup as group:
            for failure in group.exceptions:
                assert isinstance(failure, Failure)
                key = (case.operation.label, failure.title)
                told = f"{caller}: {failure}\n{response.status_code} {response.text[:500]}"
                self.faults.setdefault(key, f"{told}\n{case.as_curl_command()[:3000]}")


def _aim(case: Case, job_id: int) -> None:
    """Let a request be about a job that exists."""
    if "job_id" in (case.path_parameters or {}):
        case.path_parameters["job_id"] = job_id
    body: Any = case.body
    if isinstance(body, dict):
        if case.operation.path in BY_JOB and body:
            case.body = {str(job_id): next(iter(body.values()))}
        elif "job_ids" in body:
            case.body = {**body, "job_ids": [job_id]}
