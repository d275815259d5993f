"""Walks through a configuration without trusting it: what is missing or of another kind is simply not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_LONGEST = 80


def said(text: Any) -> str:
    """Return a value of a configuration as it may stand in a sentence: short, and without control characters."""
    words = "".join(letter if letter.isprintable() else "?" for letter in str(text))
    return words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"


@dataclass(frozen=True, slots=True)
class Node:
    """One place of a configuration: its path, and the value there (None where there is none)."""

    value: Any
    path: str

    def __bool__(self) -> bool:
        """Return whether something stands here."""
        return self.value is not None

    def at(self, *keys: str) -> Node:
        """Return what stands below one or more keys."""
        found = self
        for key in keys:
            inside = found.value.get(key) if isinstance(found.value, dict) else None
            found = Node(inside, f"{found.path}.{key}" if found.path else key)
        return found

    def items(self) -> list[Node]:
        """Return the elements of a list; none where there is no list."""
        values = self.value if isinstance(self.value, list) else []
        return [Node(value, f"{self.path}[{index}]") for index, value in enumerate(values)]

    def maps(self, key: str) -> list[Node]:
        """Return the maps in the list below *key*."""
        return [item for item in self.at(key).items() if isinstance(item.value, dict)]

    @property
    def names(self) -> list[str]:
        """Return the keys of a map; none where there is no map."""
        return list(self.value) if isinstance(self.value, dict) else []

    def text(self, key: str, default: str = "") -> str:
        """Return the text below *key*."""
        value = self.at(key).value
        return value if isinstance(value, str) else default

    def number(self, key: str, default: int) -> int:
        """Return the whole number below *key*."""
        value = self.at(key).value
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def flag(self, key: str, *, default: bool) -> bool:
        """Return the true or false below *key*."""
        value = self.at(key).value
        return value if isinstance(value, bool) else default

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Yield each key of each map below, with what stands there."""
        for key in self.names:
            inside = self.at(key)
            yield key, inside
            yield from inside.walk()
        for item in self.items():
            yield from item.walk()


NOTHING = Node(None, "")
"""Where nothing stands."""
