r"""JDL, the text in which jobs are described: a light form of ClassAd.

::

    [
        Executable = "/bin/echo";        # to the end of the line, as // does; /* */ may span lines
        Arguments = "hello \"world\"";
        CPUTime = 3600;
        Site = LCG.CERN.ch;              # bare words need no quotes
        OutputSandbox = { "std.out", "std.err" };
        Nested = [ Key = true ];
    ]

The outer brackets and the last semicolon may be left out. Names of attributes are case-insensitive.
Inside quotes ``\"``, ``\\``, ``\n``, ``\r`` and ``\t`` are escapes; any other backslash stands for itself,
because the descriptions in use hold regular expressions that nobody escaped.
"""

from __future__ import annotations

import math
import re

from dirac.core.errors import InvalidInputError, TooLargeError
from dirac.formats._jdl_values import MAX_NAME, NAME, NAME_HINT, Bare, Jdl, Value

__all__ = ["MAX_ATTRIBUTES", "MAX_BYTES", "MAX_DEPTH", "MAX_NAME", "Bare", "Jdl", "Value", "dump", "parse"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 20
MAX_ATTRIBUTES = 1000

_DEEPEST = 100  # what recursion is trusted with, whatever a caller asks for
_INT_LIMIT = 1 << 63
_LINE_WIDTH = 100
_INDENT = "    "

_SKIP = r"(?:[ \t\r\n]++|\#[^\n]*+|//[^\n]*+|/\*[^*]*+\*++(?:[^/*][^*]*+\*++)*/)*"
_STRING = r'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*"'
_NO_COMMENT = r"(?!\#|//|/\*)"

# Quantifiers of characters are possessive, and a group never begins like what may follow it: no text makes
# these expressions take more than linear time. (Possessive groups are wrong in Python before 3.11.5.)
_skip = re.compile(_SKIP).match
_name = re.compile(NAME).match
_head = re.compile(f"{_SKIP}({NAME}){_SKIP}=(?!=){_SKIP}").match
_semicolon = re.compile(f"{_SKIP};").match
_string = re.compile(_STRING).match
_word = re.compile(rf"{_NO_COMMENT}[!#-+\--:<-Z\\^-z|~]++").match
_PART = rf"(?:[!#-:<-Z\\^-z|~]++|{_STRING})+"
_expression = re.compile(rf"{_NO_COMMENT}(?!=){_PART}(?:[ \t]++{_NO_COMMENT}{_PART})*").match
_assignment = re.compile(r'[ \t]=[ \t]|[ \t][A-Za-z_][\w.]*+[ \t]*+=[ \t]*+"').search
_integer = re.compile(r"0|-?[1-9][0-9]*").fullmatch
_real = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][+-]?[0-9]{1,4})?").fullmatch
_token = re.compile(r"[\w.]{1,24}|==|.", re.DOTALL).match
_escape = re.compile(r'\\(["\\nrt])')
_escapable = re.compile(r'["\\\n\r\t]').search
_forbidden = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]").search

_UNESCAPED = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_ESCAPED = str.maketrans({value: "\\" + key for key, value in _UNESCAPED.items()})
_QUOTE_HINT = 'put text in plain double quotes: "..."'


def parse(
    text: str,
    *,
    max_bytes: int = MAX_BYTES,
    max_depth: int = MAX_DEPTH,
    max_attributes: int = MAX_ATTRIBUTES,
) -> Jdl:
    """Read one description.

    Args:
        text: The description.
        max_bytes: Largest accepted size of the text in UTF-8.
        max_depth: Deepest accepted nesting of ``[ ]`` and ``{ }`` in each other, the outermost being 1;
            never more than 100.
        max_attributes: Most attributes accepted, nested ones included.

    Raises:
        TooLargeError: The text is larger than `max_bytes`.
        InvalidInputError: Anything else; `where` is the line and column of the fault, both from 1.
    """
    # Encoding costs more than parsing: only where the number of characters leaves a doubt.
    size = len(text)
    if size <= max_bytes < size * 4 and not text.isascii():
        size = len(text.encode("utf-8", "surrogatepass"))
    if size > max_bytes:
        raise TooLargeError(
            f"the description is larger than the {max_bytes} bytes that are accepted",
            hint="put long lists and scripts into files of the input sandbox",
        )
    return _Parser(text, min(max_depth, _DEEPEST), max_attributes).document()


def _position(text: str, pos: int) -> str:
    line_start = text.rfind("\n", 0, pos) + 1
    return f"line {text.count(chr(10), 0, pos) + 1} column {pos - line_start + 1}"


class _Parser:
    """Recursive descent; methods take the place where their construct begins and return where it ends."""

    __slots__ = ("max_attributes", "max_depth", "seen", "text")

    def __init__(self, text: str, max_depth: int, max_attributes: int) -> None:
        self.text = text
        self.max_depth = max_depth
        self.max_attributes = max_attributes
        self.seen = 0

    def document(self) -> Jdl:
        text = self.text
        if bad := _forbidden(text):
            raise InvalidInputError(
                f"found the character U+{ord(bad[0]):04X}, which no description may hold",
                where=_position(text, bad.start()),
                hint="is this a text file in UTF-8?",
            )
        start = self.skip(1 if text.startswith("\ufeff") else 0)
        if start == len(text):
            raise InvalidInputError(
                "the description is empty",
                where=_position(text, start),
                hint='the least is: Executable = "/bin/hostname";',
            )
        if text[start] != "[":
            return self.attributes(start, None, 1)[0]
        jdl, pos = self.attributes(start + 1, start, 1)
        while match := _semicolon(text, pos):
            pos = match.end()
        pos = self.skip(pos)
        if pos != len(text):
            raise self.fault(pos, "the end of the text after the closing ']'", "one description at a time")
        return jdl

    def skip(self, pos: int) -> int:
        match = _skip(self.text, pos)
        return match.end() if match else pos

    def attributes(self, pos: int, opened: int | None, depth: int) -> tuple[Jdl, int]:
        """Read assignments up to the ``]`` that belongs to `opened`, or to the end of the text."""
        text, jdl, places = self.text, Jdl(), dict[str, int]()
        while True:
            if head := _head(text, pos):
                self.enter(head[1], head.start(1), places)
                value, pos = self.value(head.end(), depth)
                jdl._put(head[1], value)
                if match := _semicolon(text, pos):
                    pos = match.end()
                    continue
            pos = self.skip(pos)
            char = text[pos : pos + 1]
            if char == "]" and opened is not None:
                return jdl, pos + 1
            if not char and opened is None:
                return jdl, pos
            if head or char != ";":
                raise self.no_attribute(pos, opened, head[1] if head else None)
            pos += 1

    def enter(self, name: str, pos: int, places: dict[str, int]) -> None:
        """Take note of an attribute: not too many, not too long, not twice."""
        self.seen += 1
        if self.seen > self.max_attributes:
            raise InvalidInputError(
                f"there are more than the {self.max_attributes} attributes that are accepted",
                where=_position(self.text, pos),
            )
        if len(name) > MAX_NAME:
            raise self.fault(pos, f"a name of at most {MAX_NAME} characters", NAME_HINT)
        first = places.setdefault(name.lower(), pos)
        if first != pos:
            raise InvalidInputError(
                f"attribute {name!r} is given twice, first at {_position(self.text, first)}",
                where=_position(self.text, pos),
                hint="names are case-insensitive; keep one, or make its value a list { ..., ... }",
            )

    def value(self, pos: int, depth: int, *, in_list: bool = False) -> tuple[Value, int]:
        text = self.text
        char = text[pos : pos + 1]
        if char == '"':
            match = _string(text, pos)
            if match is None:
                raise self.fault(pos, "a value")
            body = match[0][1:-1]
            if "\\" in body:
                body = _escape.sub(lambda found: _UNESCAPED[found[1]], body)
            return body, match.end()
        if char in ("{", "["):
            if depth >= self.max_depth:
                raise InvalidInputError(
                    f"found a level of nesting beyond the {self.max_depth} that are accepted",
                    where=_position(text, pos),
                )
            return self.items(pos, depth + 1) if char == "{" else self.attributes(pos + 1, pos, depth + 1)
        match = (_word if in_list else _expression)(text, pos)
        if match is None:
            raise self.fault(pos, "a value", _QUOTE_HINT)
        if not in_list and (missing := _assignment(match[0])):
            place = pos + missing.start() + 1
            raise self.fault(place, "';' before the next attribute, or quotes around the value")
        return self.scalar(match[0], pos), match.end()

    def items(self, opened: int, depth: int) -> tuple[list[Value], int]:
        text, values = self.text, list[Value]()
        pos = self.skip(opened + 1)
        while text[pos : pos + 1] != "}":
            if pos == len(text):
                raise InvalidInputError(
                    "this list is not closed", where=_position(text, opened), hint="add '}'"
                )
            value, pos = self.value(pos, depth, in_list=True)
            values.append(value)
            pos = self.skip(pos)
            char = text[pos : pos + 1]
            if char == ",":
                pos = self.skip(pos + 1)
            elif char not in ("}", ""):
                raise self.fault(
                    pos, f"',' or '}}' in the list that begins at {_position(text, opened)}", _QUOTE_HINT
                )
        return values, pos + 1

    def scalar(self, word: str, pos: int) -> Value:
        value = _classify(word)
        if value is None:
            raise InvalidInputError(
                f"the number {word[:30]} is out of range",
                where=_position(self.text, pos),
                hint=f"whole numbers go up to 2**63 - 1, others up to 1.7e308; or {_QUOTE_HINT}",
            )
        return value

    def no_attribute(self, pos: int, opened: int | None, after: str | None) -> InvalidInputError:
        """Say why there is neither another attribute nor the end at `pos`."""
        text = self.text
        if pos == len(text) and opened is not None:
            return InvalidInputError("this '[' is not closed", where=_position(text, opened), hint="add ']'")
        if text.startswith("]", pos) and opened is None:
            return InvalidInputError("this ']' closes nothing", where=_position(text, pos), hint="remove it")
        if after is not None:
            return self.fault(pos, f"';' after the value of {after!r}", _QUOTE_HINT)
        if match := _name(text, pos):
            return self.fault(
                self.skip(match.end()), f"'=' after {match[0][:MAX_NAME]!r}", "write: Name = value;"
            )
        return self.fault(pos, "the name of an attribute", "write: Name = value;")

    def fault(self, pos: int, expected: str, hint: str | None = None) -> InvalidInputError:
        """Make the error for finding at `pos` something else than what was expected."""
        text, where = self.text, _position(self.text, pos)
        if text.startswith("/*", pos):
            return InvalidInputError("this comment is not closed", where=where, hint="add '*/'")
        if text.startswith('"', pos) and _string(text, pos) is None:
            hint = "add the closing '\"'; a line break inside is written \\n, a quotation mark \\\""
            return InvalidInputError("this string does not end on its line", where=where, hint=hint)
        token = _token(text, pos)
        found = repr(token[0]) if token else "the end of the text"
        return InvalidInputError(f"expected {expected}, found {found}", where=where, hint=hint)


def _classify(word: str) -> Value | None:
    """Tell what an unquoted word is; None if it is a number that does not fit."""
    if word[0] in "-0123456789":
        if _integer(word):
            # The length first: int() refuses thousands of digits with an error of its own.
            return number if len(word) < 21 and -_INT_LIMIT <= (number := int(word)) < _INT_LIMIT else None
        if _real(word):
            return real if math.isfinite(real := float(word)) else None
    elif word.lower() in ("true", "false"):
        return word.lower() == "true"
    return Bare(word)


def dump(jdl: Jdl) -> str:
    """Print a description, in brackets, one attribute per line; `parse` reads it back as an equal one.

    Raises:
        InvalidInputError: A value cannot be written: not a number, a control character, nested too deeply.
    """
    return _dump_jdl(jdl, "", 1) + "\n"


def _dump_jdl(jdl: Jdl, indent: str, depth: int) -> str:
    inner = indent + _INDENT
    lines = []
    for name, value in jdl.items():
        try:
            lines.append(f"{inner}{name} = {_dump_value(value, inner, depth)};\n")
        except InvalidInputError as error:
            error.where = f"{name}.{error.where}" if error.where else name
            raise
    return "[\n" + "".join(lines) + indent + "]"


def _dump_value(value: Value, indent: str, depth: int) -> str:
    if isinstance(value, str):
        return _dump_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -_INT_LIMIT <= value < _INT_LIMIT:
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        mantissa, exponent, power = repr(value).partition("e")
        return mantissa + ("" if "." in mantissa else ".0") + exponent + power
    if isinstance(value, (Jdl, list)):
        if depth >= MAX_DEPTH:
            raise InvalidInputError(f"values are nested deeper than the {MAX_DEPTH} levels that are accepted")
        return (
            _dump_jdl(value, indent, depth + 1)
            if isinstance(value, Jdl)
            else _dump_list(value, indent, depth + 1)
        )
    kind = (
        "a number out of range"
        if isinstance(value, int | float)
        else f"a value of type {type(value).__name__}"
    )
    raise InvalidInputError(f"{kind} cannot be written in a description")


def _dump_list(values: list[Value], indent: str, depth: int) -> str:
    inner = indent + _INDENT
    items = [_dump_value(value, inner, depth) for value in values]
    if sum(map(len, items)) + 2 * len(items) <= _LINE_WIDTH and not any("\n" in item for item in items):
        return "{" + ", ".join(items) + "}"
    return "{\n" + ",\n".join(inner + item for item in items) + "\n" + indent + "}"


def _dump_text(value: str) -> str:
    if bad := _forbidden(value):
        raise InvalidInputError(f"the character U+{ord(bad[0]):04X} cannot be written in a description")
    if isinstance(value, Bare) and _is_word(value):
        return value
    # translate() is slow, and few texts need it.
    return f'"{value.translate(_ESCAPED) if _escapable(value) else value}"'


def _is_word(text: str) -> bool:
    """Tell whether `text` would be read back as a bare word without quotes, wherever it stands."""
    match = _word(text)
    return (
        match is not None
        and match.end() == len(text)
        and text[0] != "="
        and isinstance(_classify(text), Bare)
    )
