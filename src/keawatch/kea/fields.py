"""Takes values of a known kind out of Kea's JSON, or says in a sentence where something else stands."""

from enum import StrEnum
from typing import Any, TypeVar

from keawatch.errors import KeaProtocolError
from keawatch.kea.protocol import printable, quote

Word = TypeVar("Word", bound=StrEnum)

_FAR = 1e12
"""Seconds beyond which a number is no time."""


class Fields:
    """A map of Kea's; a missing key and ``null`` are the same, a value of another kind is a KeaProtocolError."""

    __slots__ = ("_map", "_where")

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise KeaProtocolError(f"{where} should be a map and is {_kind(value)}")
        self._map: dict[str, Any] = value
        self._where = where

    def __contains__(self, key: str) -> bool:
        return self._map.get(key) is not None

    def text(self, key: str) -> str | None:
        """Return a text; None when it is missing."""
        value = self._map.get(key)
        if value is None or isinstance(value, str):
            return None if value is None else printable(value)
        raise self.wrong(key, "a text")

    def count(self, key: str) -> int | None:
        """Return a whole number; None when it is missing."""
        value = self._map.get(key)
        if value is None or _is_count(value):
            return value
        raise self.wrong(key, "a whole number")

    def seconds(self, key: str) -> float | None:
        """Return a duration; None when it is missing."""
        value = self._map.get(key)
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _FAR:
            return float(value)
        raise self.wrong(key, "a number")

    def flag(self, key: str, default: bool | None = None) -> bool | None:  # noqa: FBT001 - it is the value looked for
        """Return true or false; *default* when it is missing."""
        value = self._map.get(key)
        if value is None:
            return default
        if isinstance(value, bool):
            return value
        raise self.wrong(key, "true or false")

    def word(self, key: str, words: type[Word]) -> Word:
        """Return one of the words we know; a word we don't know, or none, is a KeaProtocolError."""
        value = self.text(key)
        if value is None:
            raise KeaProtocolError(f"{self._where} has no {key}")
        try:
            return words(value)
        except ValueError:
            raise KeaProtocolError(f"{self._where}.{key} is {quote(value)}, which is not known") from None

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; empty when it is missing."""
        values = self._list(key)
        if all(isinstance(value, str) for value in values):
            return tuple(printable(value) for value in values)
        raise self.wrong(key, "a list of texts")

    def counts(self, key: str) -> tuple[int, ...]:
        """Return a list of whole numbers; empty when it is missing."""
        values = self._list(key)
        if all(_is_count(value) for value in values):
            return tuple(values)
        raise self.wrong(key, "a list of whole numbers")

    def map(self, key: str) -> "Fields | None":
        """Return the map below *key*; None when it is missing."""
        value = self._map.get(key)
        return None if value is None else Fields(value, f"{self._where}.{key}")

    def maps(self, key: str) -> "list[Fields]":
        """Return a list of maps; empty when it is missing."""
        return [Fields(value, f"{self._where}.{key}[{index}]") for index, value in enumerate(self._list(key))]

    def raw_maps(self, key: str) -> list[dict[str, Any]]:
        """Return a list of maps as they stand there, for who wants to change them; empty when it is missing."""
        values = self._list(key)
        if all(isinstance(value, dict) for value in values):
            return values
        raise self.wrong(key, "a list of maps")

    def rows(self, key: str) -> list[list[Any]]:
        """Return a list of lists; empty when it is missing."""
        values = self._list(key)
        if all(isinstance(value, list) for value in values):
            return values
        raise self.wrong(key, "a list of lists")

    def wrong(self, key: str, wanted: str) -> KeaProtocolError:
        """Return the error that something else than *wanted* stands at *key*."""
        return KeaProtocolError(f"{self._where}.{key} should be {wanted} and is {_kind(self._map.get(key))}")

    def _list(self, key: str) -> list[Any]:
        value = self._map.get(key)
        if value is None:
            return []
        if isinstance(value, list):
            return value
        raise self.wrong(key, "a list")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _kind(value: Any) -> str:
    # The kind and not the value: the value may be a password.
    names = {dict: "a map", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")
