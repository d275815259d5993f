"""Replies captured from real Kea, by name."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "replies"
VERSIONS = ("2.2", "2.6", "3.0")
ALL = sorted(path.stem for path in FOLDER.glob("*.json"))


def raw(name: str) -> bytes:
    return (FOLDER / f"{name}.json").read_bytes()


def whole(name: str) -> dict[str, Any]:
    """Return the reply as a map, out of its list if it came in one."""
    value = json.loads(raw(name))
    return dict(value[0]) if isinstance(value, list) else dict(value)


def arguments(name: str) -> Any:
    return whole(name)["arguments"]
