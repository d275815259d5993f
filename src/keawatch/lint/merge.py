"""
Merges a snippet into a configuration as pfSense does with its JSON Configuration fields.

Maps are merged key by key. In lists the element of one index takes the place of the other's, unless both are maps or lists: then it
is appended (util.inc, array_merge_override_recursive). Nothing can be taken away, and `{}` comes out as `[]`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any


def merged(generated: Any, custom: Any) -> Any:
    """Return what pfSense makes of its own configuration and a snippet."""
    return _map(copy.deepcopy(generated), copy.deepcopy(custom))


def _map(base: dict[str, Any], custom: dict[str, Any]) -> dict[str, Any]:
    for key, value in custom.items():
        base[key] = _value(base[key], value) if key in base else _emptied(value)
    return base


def _value(base: Any, custom: Any) -> Any:
    if isinstance(base, dict) and isinstance(custom, dict):
        return _map(base, custom)
    if isinstance(base, dict | list) and not custom and isinstance(custom, dict | list):
        return base
    if isinstance(base, list) and isinstance(custom, list):
        return _list(base, custom)
    return _emptied(custom)


def _list(base: list[Any], custom: list[Any]) -> list[Any]:
    result = list(base)
    for index, value in enumerate(custom):
        fresh = _emptied(value)
        if index >= len(result) or (isinstance(result[index], dict | list) and isinstance(value, dict | list)):
            result.append(fresh)
        else:
            result[index] = fresh
    return result


def _emptied(value: Any) -> Any:
    """Return a value after its way through PHP, which knows no empty map."""
    if isinstance(value, dict):
        return {key: _emptied(inside) for key, inside in value.items()} if value else []
    if isinstance(value, list):
        return [_emptied(inside) for inside in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def empty_maps(generated: Any, custom: Any, path: str = "") -> Iterator[str]:
    """Yield where a snippet brings an empty map to a place at which the generated configuration has nothing."""
    if isinstance(custom, dict):
        if not custom and generated is None:
            yield path
        for key, inside in custom.items():
            below = generated.get(key) if isinstance(generated, dict) else None
            yield from empty_maps(below, inside, f"{path}.{key}" if path else key)
    for index, inside in enumerate(custom if isinstance(custom, list) else ()):
        # A map in a list is appended, so it meets nothing.
        yield from empty_maps(None, inside, f"{path}[{index}]")
