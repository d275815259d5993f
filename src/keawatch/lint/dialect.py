"""
Reads Kea's kind of JSON as Kea's own parser does, and says file, line and column of what it would refuse.

Kea's differences from JSON: comments in three forms, surplus commas after a value, `<?include "file"?>` anywhere; and stricter
than most readers: no key twice in a map, no control character in a text (dhcp4_lexer.ll, dhcp4_parser.yy).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keawatch.errors import DialectError, LintError

_MOST_INCLUDES = 10
_DEEPEST = 100
_LONGEST_NUMBER = 19

_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*|//[^\n]*)+")
_TEXT = re.compile(r'"(?:[^\x00-\x1f"\\]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*"')
_NUMBER = re.compile(r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"[A-Za-z_]+")
_INCLUDE = re.compile(r'<\?\s*include\s+"([^"\n]+)"\s*\?>')
_ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|(["\\/bfnrt]))')
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file, counted from 1 as Kea does."""

    file: str
    line: int
    column: int

    def wrong(self, sentence: str) -> DialectError:
        """Return the error that something here is not Kea's kind of JSON."""
        return DialectError(self.file, self.line, self.column, sentence)


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration as it was read, and where each value stands."""

    value: Any
    places: dict[str, Where] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """``text``, ``number``, ``word``, ``end``, or the punctuation itself."""
    value: Any
    where: Where


class _File:
    """One file that is being read."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        self.at = 0
        self._line, self._start, self._counted = 1, 0, 0

    def where(self, at: int | None = None) -> Where:
        """Return the place of a position that is not before the last one asked for."""
        at = self.at if at is None else at
        self._line += self.text.count("\n", self._counted, at)
        self._start = max(self._start, self.text.rfind("\n", self._counted, at) + 1)
        self._counted = at
        return Where(self.name, self._line, at - self._start + 1)

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Return what matches here, and step over it."""
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found


class _Lexer:
    """Cuts files into tokens, and goes into the files that they include."""

    def __init__(self, name: str, text: str, reader: Callable[[str, str], str]) -> None:
        self._files = [_File(name, text)]
        self._reader = reader

    def next(self) -> _Token:
        """Return the next token."""
        while True:
            self._skip()
            file = self._files[-1]
            if file.at < len(file.text):
                token = self._token(file)
                if token:
                    return token
            elif len(self._files) == 1:
                return _Token("end", None, file.where())
            else:
                self._files.pop()

    def _skip(self) -> None:
        file = self._files[-1]
        while file.take(_SPACE) or file.text.startswith("/*", file.at):
            if not file.text.startswith("/*", file.at):
                continue
            where, end = file.where(), file.text.find("*/", file.at + 2)
            if end < 0:
                raise where.wrong("a comment is opened with /* and never closed")
            file.at = end + 2

    def _token(self, file: _File) -> _Token | None:
        where, letter = file.where(), file.text[file.at]
        if letter in "{}[],:":
            file.at += 1
            return _Token(letter, letter, where)
        if letter == "<":
            self._include(file, where)
            return None
        if letter == '"':
            return _Token("text", _unquoted(file, where), where)
        if found := file.take(_NUMBER):
            return _Token("number", _number(found[0], where), where)
        if found := file.take(_WORD):
            return _word(found[0], where)
        raise where.wrong(_strange(letter))

    def _include(self, file: _File, where: Where) -> None:
        found = file.take(_INCLUDE)
        if not found:
            raise where.wrong('an include must read <?include "file"?>')
        if len(self._files) > _MOST_INCLUDES:
            raise where.wrong(f"files include each other more than {_MOST_INCLUDES} deep, which Kea refuses")
        try:
            text = self._reader(found[1], self._files[0].name)
        except OSError as error:
            raise where.wrong(
                f"the included file {found[1]} can't be read ({error.strerror}); Kea would not start"
            ) from None
        self._files.append(_File(found[1], text))


def _strange(letter: str) -> str:
    if letter == "\ufeff":
        return "the file begins with a byte order mark, which Kea refuses; save it as UTF-8 without one"
    if letter == "'":
        return "a text stands in double quotes in Kea's JSON, never in single ones"
    return f"the character U+{ord(letter):04X} can't stand here"


def _unquoted(file: _File, where: Where) -> str:
    found = file.take(_TEXT)
    if not found:
        raise where.wrong(
            "this text is not closed on its line, or holds a backslash or control character that JSON does not allow"
        )

    def letter(escape: re.Match[str]) -> str:
        if escape[1] and not escape[1].startswith("00"):
            raise where.wrong("Kea takes \\u only up to \\u00ff")
        return chr(int(escape[1], 16)) if escape[1] else _ESCAPED.get(escape[2], escape[2])

    return _ESCAPE.sub(letter, found[0][1:-1])


def _number(digits: str, where: Where) -> int | float:
    if re.fullmatch(r"-?\d+", digits):
        if len(digits.lstrip("-0")) > _LONGEST_NUMBER:
            raise where.wrong("this number is too large")
        return int(digits)
    return float(digits)


def _word(word: str, where: Where) -> _Token:
    if word in _WORDS:
        return _Token("word", _WORDS[word], where)
    if word.lower() in _WORDS:
        raise where.wrong("true, false and null are written in small letters")
    raise where.wrong("a word stands here without quotes")


class _Parser:
    """Puts tokens together, and remembers where each value began."""

    def __init__(self, lexer: _Lexer) -> None:
        self._lexer = lexer
        self._token = lexer.next()
        self.places: dict[str, Where] = {}

    def document(self) -> Any:
        """Return the whole."""
        if self._token.kind != "{":
            raise self._wrong("the configuration must begin with {")
        value = self._value("", 0)
        if self._token.kind != "end":
            raise self._wrong("the configuration has ended, and more follows")
        return value

    def _step(self) -> _Token:
        token, self._token = self._token, self._lexer.next()
        return token

    def _wrong(self, sentence: str) -> DialectError:
        return self._token.where.wrong(sentence)

    def _value(self, path: str, depth: int) -> Any:
        if depth > _DEEPEST:
            raise self._wrong("maps and lists are nested too deep")
        self.places[path] = self._token.where
        if self._token.kind == "{":
            return self._map(path, depth)
        if self._token.kind == "[":
            return self._list(path, depth)
        if self._token.kind in {"text", "number", "word"}:
            return self._step().value
        raise self._wrong(_expected(self._token.kind, "a value"))

    def _map(self, path: str, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._step()
        while self._token.kind != "}":
            if self._token.kind != "text":
                raise self._wrong(_expected(self._token.kind, "a key in double quotes"))
            if self._token.value in found:
                raise self._wrong("this key stands twice in one map, which Kea refuses")
            key = self._step()
            if self._token.kind != ":":
                raise self._wrong(_expected(self._token.kind, "a colon after the key"))
            self._step()
            found[key.value] = self._value(f"{path}.{key.value}" if path else key.value, depth + 1)
            self._separated("}", "a comma or } after this value")
        self._step()
        return found

    def _list(self, path: str, depth: int) -> list[Any]:
        found: list[Any] = []
        self._step()
        while self._token.kind != "]":
            found.append(self._value(f"{path}[{len(found)}]", depth + 1))
            self._separated("]", "a comma or ] after this value")
        self._step()
        return found

    def _separated(self, end: str, wanted: str) -> None:
        # Kea warns of surplus commas after a value, and takes them.
        if self._token.kind not in {",", end}:
            raise self._wrong(_expected(self._token.kind, wanted))
        while self._token.kind == ",":
            self._step()


def _expected(kind: str, wanted: str) -> str:
    names = {"text": "a text", "number": "a number", "word": "true, false or null", "end": "the end of the file"}
    return f"{wanted} is expected, and here is {names.get(kind, kind)}"


def parse(text: str, name: str, reader: Callable[[str, str], str] | None = None) -> Document:
    """Return what a text holds; LintError with file, line, column and a sentence where Kea would not read it."""
    parser = _Parser(_Lexer(name, text, reader or _included))
    return Document(parser.document(), parser.places)


def read(path: Path) -> Document:
    """Return what a file holds, with what it includes; LintError where it can't be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LintError(f"{path} can't be read ({error.strerror}); name another file, or run this as root") from None
    return parse(text, str(path))


def _included(name: str, root: str) -> str:
    # Kea opens it from the folder it was started in, which is not known; its own folder is the next best guess.
    path = Path(name)
    near = Path(root).parent / path
    return (near if not path.is_file() and near.is_file() else path).read_text(encoding="utf-8", errors="replace")
