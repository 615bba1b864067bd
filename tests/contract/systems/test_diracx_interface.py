"""Our interface takes what DiracX's takes and answers what its clients expect, as documents can say it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dirac.server.composition import build
from dirac.server.control import make_master_key
from dirac.server.serve import make_app
from dirac.server.settings import Settings
from dirac.transport.openapi import describe

Schema = dict[str, Any]
FACTS = Path(__file__).with_name("diracx_interface.txt").read_text()
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
_PLAIN = {"text": {"string"}, "integer": {"integer"}, "number": {"integer", "number"}, "boolean": {"boolean"}}


def _blocks(part: str) -> dict[str, list[list[str]]]:
    """Return what is below each line without indentation, as words: a name, and all else."""
    text = FACTS.partition(f"\n{part}\n")[2].partition("\n\n")[0]
    found: dict[str, list[list[str]]] = {}
    head = ""
    for line in text.splitlines():
        if line.startswith(" "):
            found[head].append(line.split(maxsplit=1))
        else:
            head = line
            found[head] = []
    return found


OPERATIONS = {tuple(head.split()): lines for head, lines in _blocks("operations").items()}
TYPES = {head.split()[0]: {line[0]: line[1] for line in lines} for head, lines in _blocks("types").items()}


def alternatives(shape: str) -> list[str]:
    """Split a shape at the bars that are not inside of others."""
    found, depth = [""], 0
    for letter in shape:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "|" and not depth:
            found.append("")
        else:
            found[-1] += letter
    return found


class Comparison:
    """Finds what of a document does not keep what the facts promise."""

    def __init__(self, document: Schema) -> None:
        self._schemas = document["components"]["schemas"]

    def refused(self, schema: Schema, shape: str, where: str) -> Iterator[str]:
        """Yield where a value of a shape would not be taken."""
        schema = self._resolved(schema)
        if len(alternatives(shape)) > 1:
            for one in alternatives(shape):
                yield from self.refused(schema, one, where)
        elif "anyOf" in schema:
            faults = [list(self.refused(one, shape, where)) for one in schema["anyOf"]]
            if all(faults):
                yield from min(faults, key=len)
        elif schema and shape != "any":
            yield from self._refused(schema, shape, where)

    def _refused(self, schema: Schema, shape: str, where: str) -> Iterator[str]:
        kind = schema.get("type")
        if shape[0] == "(":
            if kind != "string" and "enum" not in schema:
                yield f"{where}: {shape} is refused"
            wanted = shape[1:-1].split(", ")
            for one in sorted(set(wanted) - set(schema.get("enum", wanted))):
                yield f"{where}: {one} is refused"
        elif shape[0] == "[" and kind == "array":
            yield from self.refused(schema.get("items", {}), shape[1:-1], f"{where}[]")
        elif shape[0] == "{" and kind == "object":
            yield from self.refused(self._others(schema), shape[1:-1], f"{where}.*")
        elif shape in TYPES and kind == "object":
            yield from self._refused_fields(schema, shape, where)
        elif kind not in {"text": {"string"}, "integer": {"integer", "number"}}.get(shape, {shape}) or (
            "enum" in schema
        ):
            yield f"{where}: {shape} is refused, {kind} taken"

    def _refused_fields(self, schema: Schema, shape: str, where: str) -> Iterator[str]:
        known = schema.get("properties", {})
        for name, inner in TYPES[shape].items():
            other = schema.get("additionalProperties", True)
            if name.rstrip("?") in known or other is not False:
                other = {} if other in (True, False) else other
                yield from self.refused(known.get(name.rstrip("?"), other), inner, f"{where}.{name}")
            else:
                yield f"{where}.{name} is not known"
        for name in schema.get("required", ()):
            if name not in TYPES[shape]:
                yield f"{where}.{name} is demanded"

    def unexpected(self, schema: Schema, shape: str, where: str) -> Iterator[str]:
        """Yield where an answer would be another than a shape."""
        schema = self._resolved(schema)
        if "anyOf" in schema:
            for one in schema["anyOf"]:
                yield from self.unexpected(one, shape, where)
            return
        faults = [list(self._unexpected(schema, one, where)) for one in alternatives(shape)]
        if all(faults):
            yield from min(faults, key=len)

    def _unexpected(self, schema: Schema, shape: str, where: str) -> Iterator[str]:
        kind = schema.get("type") or ("string" if "enum" in schema else None)
        if shape == "any":
            return
        if shape[0] == "[" and kind == "array":
            yield from self.unexpected(schema.get("items", {}), shape[1:-1], f"{where}[]")
        elif shape[0] == "{" and kind == "object":
            for name, inner in schema.get("properties", {}).items():
                yield from self.unexpected(inner, shape[1:-1], f"{where}.{name}")
            if "properties" not in schema:
                yield from self.unexpected(self._others(schema), shape[1:-1], f"{where}.*")
        elif shape in TYPES and kind == "object":
            known = schema["properties"]
            for name, inner in TYPES[shape].items():
                bare = name.rstrip("?")
                if name not in schema["required"] and bare == name:
                    yield f"{where}.{name} may be missing"
                elif bare in known:  # their clients read an absent field and null alike
                    wanted = inner if bare == name else f"{inner}|null"
                    yield from self.unexpected(known[bare], wanted, f"{where}.{name}")
        # Their clients take any text for one of an enumeration.
        elif kind not in _PLAIN.get("text" if shape[0] == "(" else shape, {shape}):
            yield f"{where}: {kind} instead of {shape}"

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        return schema

    def _others(self, schema: Schema) -> Schema:
        others = schema.get("additionalProperties", True)
        return {} if others in (True, False) else others


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Schema:
    """The description of the whole interface, of a server put together as any."""
    settings = Settings(state=str(tmp_path_factory.mktemp("state")))
    make_master_key(settings)
    return describe(make_app(build(settings)))


def test_the_table_is_not_empty() -> None:
    assert len(OPERATIONS) == 34
    assert TYPES["SandboxInfo"]["format"] == "(tar.bz2, tar.zst)"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation[0])
def test_an_operation_is_there_with_all_that_it_takes(
    document: Schema, operation: tuple[str, str, str]
) -> None:
    name, method, path = operation
    ours = document["paths"][path][method.lower()]
    assert ours["operationId"] == name
    comparison = Comparison(document)
    parameters = {(one["in"], one["name"].lower()): one for one in ours.get("parameters", ())}
    faults: list[str] = []
    for where, rest in OPERATIONS[operation]:
        known, _, shape = rest.partition(" ")
        if where in ("query", "path", "header"):
            one = parameters.pop((where, known.rstrip("?")), None)
            if one is None:
                faults.append(f"{known} is not known")
            else:
                faults += comparison.refused(one["schema"], shape.removesuffix("|null"), known)
                faults += [f"{known} is demanded"] * (one.get("required", False) and known.endswith("?"))
        elif where.rstrip("?") in ("json", "form"):
            content = ours["requestBody"]["content"][_FORM if where.startswith("form") else _JSON]
            faults += comparison.refused(content["schema"], rest.removesuffix("|null"), "body")
            demanded = ours["requestBody"].get("required", False)
            faults += ["the body is demanded"] * (demanded and where.endswith("?"))
    faults += [f"{key} is demanded" for key, one in parameters.items() if one.get("required")]
    assert faults == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation[0])
def test_an_operation_answers_what_is_expected(document: Schema, operation: tuple[str, str, str]) -> None:
    _, method, path = operation
    responses = document["paths"][path][method.lower()]["responses"]
    comparison = Comparison(document)
    faults: list[str] = []
    for where, shape in OPERATIONS[operation]:
        if where.isdigit():
            content = responses[where].get("content", {})
            if shape == "nothing":
                faults += [f"{where} has a body"] * bool(content)
            elif shape != "any" and "text/plain" not in content:  # theirs are texts in quotes
                faults += comparison.unexpected(content[_JSON]["schema"], shape, where)
    assert faults == []


def test_pages_say_in_a_header_what_they_are(document: Schema) -> None:
    for kind in ("jobs", "pilots"):
        responses = document["paths"][f"/api/{kind}/search"]["post"]["responses"]
        for code in ("206", "416"):
            assert re.search(r"\d", responses[code]["headers"]["Content-Range"]["schema"]["example"])


def test_the_comparison_finds_what_is_missing() -> None:
    """Each fault that it is for, in the smallest document that has it."""
    text, closed = {"type": "string"}, {"type": "object", "additionalProperties": False, "properties": {}}
    comparison = Comparison({"components": {"schemas": {"Text": text}}})
    assert list(comparison.refused({"$ref": "#/components/schemas/Text"}, "text", "x")) == []
    assert list(comparison.refused(text, "text|null", "x")) == ["x: null is refused, string taken"]
    assert list(comparison.refused({"type": "integer"}, "number", "x")) != []
    assert list(comparison.refused({"enum": ["eq"]}, "(eq, neq)", "x")) == ["x: neq is refused"]
    assert "x.job_ids is not known" in comparison.refused(closed, "Body_jobs_reschedule_jobs", "x")
    demanding = {"type": "object", "properties": {"more": text}, "required": ["more"]}
    assert list(comparison.refused(demanding, "Body_jobs_reschedule_jobs", "x")) == ["x.more is demanded"]
    assert list(comparison.unexpected(text, "integer", "x")) == ["x: string instead of integer"]
    silent = {"type": "object", "properties": {"JobID": {"type": "integer"}}, "required": ["JobID"]}
    missing = [f"x.{name} may be missing" for name in ("MinorStatus", "Status", "TimeStamp")]
    assert list(comparison.unexpected(silent, "InsertedJob", "x")) == missing
    assert list(comparison.unexpected({"anyOf": [text, {"type": "null"}]}, "text", "x")) != []
