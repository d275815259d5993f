"""Turns the core's values into JSON for the journal, the API and the command line, and plans back into values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Literal

from keawatch.core.plan import CONDITIONS, Command, Condition, ConfigVariant, Fact, Order, Plan, Step, Work


def jsonable(value: Any, timespec: Literal["milliseconds", "microseconds"] = "milliseconds") -> Any:
    """Return *value* as JSON has it: dataclasses as maps, times in ISO 8601 with UTC, enums by value."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name), timespec) for field in dataclasses.fields(value)}
    if isinstance(value, datetime | Enum):
        return value.value if isinstance(value, Enum) else value.isoformat(timespec=timespec).replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {str(key): jsonable(item, timespec) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = [jsonable(item, timespec) for item in value]
        return sorted(items) if isinstance(value, set | frozenset) else items
    return value


def plan_from(data: Mapping[str, Any]) -> Plan:
    """Return the plan that ``jsonable`` made *data* of; KeyError, TypeError or ValueError when it is none."""
    steps = tuple(_step(step) for step in data["steps"])
    return Plan(**{**data, "steps": steps})


def _step(data: Mapping[str, Any]) -> Step:
    conditions = {name: tuple(_condition(item) for item in data.get(name, ())) for name in CONDITIONS}
    orders = {name: _order(data[name]) for name in ("order", "compensation")}
    work = Work(data["work"]) if data.get("work") else None
    then = tuple(order for item in data.get("then", ()) if (order := _order(item)))
    return Step(**{**data, **conditions, **orders, "work": work, "then": then})


def _condition(data: Mapping[str, Any]) -> Condition:
    return Condition(Fact(data["fact"]), data["server"], tuple(data["values"]))


def _order(data: Mapping[str, Any] | None) -> Order | None:
    if data is None:
        return None
    config = ConfigVariant(data["config"]) if data["config"] else None
    return Order(data["server"], Command(data["command"]), dict(data["arguments"]), config, data.get("kept_by"))
