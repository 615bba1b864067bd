"""Routes of the configuration."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from typing import Annotated, Any

import msgspec
from fastapi import Header, Query
from starlette.responses import Response

from dirac.systems.configuration import policy
from dirac.systems.configuration.logic import MAX_LISTED, Configuration
from dirac.systems.configuration.models import (
    Applied,
    Apply,
    Blame,
    Change,
    Content,
    Convert,
    Converted,
    Explanation,
    Exported,
    Files,
    GitState,
    GitSync,
    Rollback,
    Tree,
    Version,
)
from dirac.systems.identity.models import Identity
from dirac.transport.routing import SystemRouter, allowed, body, provided

router = SystemRouter("/api/config", "config")
routers = (router,)

Reader = Annotated[Identity, allowed(policy.read)]
Editor = Annotated[Identity, allowed(policy.change)]
Administrator = Annotated[Identity, allowed(policy.roll_back)]
Keeper = Annotated[Identity, allowed(policy.look_after_git)]
Provided = Annotated[Configuration, provided(Configuration)]
Key = Annotated[str, Query(min_length=1, max_length=2000)]
Moment = Annotated[datetime, Query()]
Number = Annotated[int, Query(ge=0, le=2**31 - 1)]


@router.get("/")
async def serve_config(
    caller: Reader,
    configuration: Provided,
    if_none_match: Annotated[str | None, Header()] = None,
    if_modified_since: Annotated[str | None, Header()] = None,
) -> Response:
    """Return the configuration in DiracX's shape, the part of the caller's VO.

    An ETag names the content, so that the answer is 304 while nothing that the caller sees has changed. A
    caller who has a newer one, from another server, gets 304 as well and keeps it.
    """
    serving = await configuration.serve(caller)
    modified = serving.snapshot.time.replace(microsecond=0)
    headers = {
        "ETag": f'"{serving.etag}"',
        "Last-Modified": format_datetime(modified, usegmt=True),
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization",
    }
    if _is_known(serving.etag, modified, if_none_match, if_modified_since):
        return Response(status_code=304, headers=headers)
    return Response(serving.body, headers=headers, media_type="application/json")


@router.post("/apply")
async def apply_config(
    caller: Editor, configuration: Provided, request: Annotated[Apply, body(Apply)]
) -> Applied:
    """Make a text or files the configuration, or only say what that would change.

    What others have changed since `base` is kept. Administrators of a VO change files of their own VO only.
    """
    return await configuration.apply(caller, request)


@router.post("/rollback")
async def rollback_config(
    caller: Administrator, configuration: Provided, request: Annotated[Rollback, body(Rollback)]
) -> Applied:
    """Make the text of an old version the configuration again, as a new version."""
    return await configuration.rollback(caller, request.version, request.comment)


@router.get("/tree")
async def get_tree(
    caller: Reader, configuration: Provided, version: Number | None = None, at: Moment | None = None
) -> Content:
    """Return what a version says, or the one that was current at a moment, or the current one."""
    return await configuration.content(caller, version, at)


@router.get("/files")
async def get_files(
    caller: Reader,
    configuration: Provided,
    version: Number | None = None,
    name: Annotated[list[str] | None, Query(max_length=MAX_LISTED)] = None,
) -> Files:
    """Return the files of a version: with `name` the texts of those, otherwise the names of all.

    Who sees one VO only gets the files that are about nothing else.
    """
    return await configuration.files(caller, version, name)


@router.get("/blame")
async def get_blame(
    caller: Reader,
    configuration: Provided,
    key: Key,
    version: Number | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 20,
) -> list[Blame]:
    """Return the versions that changed an option, newest first."""
    return await configuration.blame(caller, key, version, limit)


@router.get("/explain")
async def explain_key(
    caller: Reader,
    configuration: Provided,
    key: Key,
    version: Number | None = None,
    at: Moment | None = None,
) -> Explanation:
    """Return what an option is, where that comes from, what it overrides and what it means."""
    return await configuration.explain(caller, key, version, at)


@router.get("/diff")
async def get_diff(
    caller: Reader, configuration: Provided, old: Number, new: Number | None = None
) -> list[Change]:
    """Return the differences between two versions, or one and the current one."""
    return await configuration.diff(caller, old, new)


@router.get("/log")
async def get_log(
    caller: Reader,
    configuration: Provided,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
    before: Number | None = None,
) -> list[Version]:
    """Return the versions, newest first."""
    return await configuration.log(caller, limit, before)


@router.get("/git")
async def get_git(caller: Keeper, configuration: Provided) -> list[GitState]:
    """Return where the repositories beside the configuration stand, and what is in the way."""
    return await configuration.git.states()


@router.post("/git", status_code=202)
async def sync_git(
    caller: Keeper, configuration: Provided, request: Annotated[GitSync, body(GitSync)]
) -> list[GitState]:
    """Have new commits taken over and new versions sent now; returns where all stood before."""
    await configuration.git.ask(rewritten=request.rewritten)
    return await configuration.git.states()


@router.post("/import")
async def import_config(
    caller: Editor, configuration: Provided, request: Annotated[Convert, body(Convert)]
) -> Converted:
    """Return another system's configuration as files of ours, with what was not understood; apply nothing."""
    return await configuration.convert(request)


@router.get("/export")
async def export_config(
    caller: Reader,
    configuration: Provided,
    form: Annotated[str, Query(max_length=20)] = "cfg",
    version: Number | None = None,
) -> Exported:
    """Return a version as DIRAC (`cfg`), DiracX (`diracx`) or we (`yaml`) write it."""
    return await configuration.export(caller, form, version)


@router.get("/schema")
async def get_schema(caller: Reader) -> dict[str, Any]:
    """Return the JSON schema of the tree, for editors and checks before an application."""
    return msgspec.json.schema(Tree)


def _is_known(etag: str, modified: datetime, none_match: str | None, modified_since: str | None) -> bool:
    """Tell whether the caller has this content, or a newer one (RFC 9110, section 13.1)."""
    if none_match is not None:
        names = {name.strip().removeprefix("W/").strip('"') for name in none_match.split(",")}
        if etag in names or "*" in names:
            return True
    if modified_since is None:
        return False
    try:
        since = parsedate_to_datetime(modified_since)
    except (ValueError, OverflowError):
        return False
    if since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return since > modified or (none_match is None and since == modified)
