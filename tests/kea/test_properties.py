"""Whatever a server sends, there is an answer or a KeaProtocolError, and never another exception."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keawatch.core.model import ServerStatus
from keawatch.errors import KeaProtocolError
from keawatch.kea.configuration import read_config
from keawatch.kea.protocol import Reply, decode
from keawatch.kea.reconfigure import ReconfigureError, aside, redacted
from keawatch.kea.status import Asked, read_lease_statistics, read_lease_table, read_status
from tests.kea import replies

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
ASKED = Asked("a", "b", NOON, NOON + timedelta(seconds=0.1))

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "a", "ready", "unavailable", 10**400, -1, 1e308, "\ud800"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths(value: Any) -> list[tuple[Any, ...]]:
    """Return the way to every value inside *value*, itself first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(), *((key, *rest) for key, child in inner for rest in paths(child))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = replaced(value[path[0]], path[1:], new)
    return copied


def mutants(original: Any) -> st.SearchStrategy[Any]:
    """Return *original* with up to two values replaced by anything."""
    places = st.sampled_from(paths(original))

    def mutate(changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
        made = original
        for path, new in changes:
            with suppress(KeyError, IndexError, TypeError, AttributeError):
                made = replaced(made, path, new)
        return made

    return st.lists(st.tuples(places, values), min_size=1, max_size=2).map(mutate)


class TestDecode:
    @given(st.binary(max_size=200))
    def test_any_bytes(self, body: bytes) -> None:
        with suppress(KeaProtocolError):
            assert isinstance(decode(body), Reply)

    @given(values)
    def test_any_json(self, value: Any) -> None:
        with suppress(KeaProtocolError):
            assert isinstance(decode(json.dumps(value).encode()), Reply)

    @given(st.sampled_from(replies.ALL), st.data())
    def test_any_truncation_of_a_real_reply(self, name: str, data: st.DataObject) -> None:
        body = replies.raw(name).strip()
        cut = data.draw(st.integers(0, len(body) - 1))
        with pytest.raises(KeaProtocolError) as error:
            decode(body[:cut])
        assert "made-up" not in str(error.value)

    @given(mutants([{"result": 0, "text": "x", "arguments": {}}]))
    def test_any_mutation(self, value: Any) -> None:
        with suppress(KeaProtocolError):
            reply = decode(json.dumps(value).encode())
            reply.text.encode()


class TestReadStatus:
    @given(
        st.sampled_from([f"{version}-status-get-{one}" for version in replies.VERSIONS for one in "ab"]).flatmap(
            lambda name: mutants(replies.arguments(name))
        ),
        mutants(replies.arguments("3.0-ha-heartbeat-a")),
    )
    def test_any_mutation(self, status: Any, heartbeat: Any) -> None:
        with suppress(KeaProtocolError):
            read = read_status(status, heartbeat, ASKED)
            assert isinstance(read, ServerStatus)
            repr(read).encode()

    @given(values, values)
    def test_anything(self, status: Any, heartbeat: Any) -> None:
        with suppress(KeaProtocolError):
            read_status(status, heartbeat, ASKED)

    def test_a_number_that_no_float_can_hold_is_garbage_as_any_other(self) -> None:
        status = replies.arguments("3.0-status-get-a")
        status["high-availability"][0]["ha-servers"]["remote"]["age"] = 10**400
        with pytest.raises(KeaProtocolError):
            read_status(status, None, ASKED)


class TestReadConfig:
    @given(mutants(replies.arguments("3.0-config-get-a")), st.none() | st.text(max_size=9))
    def test_any_mutation(self, arguments: Any, version: str | None) -> None:
        with suppress(KeaProtocolError):
            read_config(arguments, version, server="a", partner="b")
        with suppress(KeaProtocolError, ReconfigureError):
            aside(arguments, "a", version)
        redacted(arguments)


class TestLeaseCounts:
    @given(mutants(replies.arguments("3.0-stat-lease4-get-a")) | values)
    def test_any_table(self, arguments: Any) -> None:
        with suppress(KeaProtocolError):
            assert isinstance(read_lease_table(arguments), int)

    @given(mutants({"subnet[1].assigned-addresses": [[3, "x"]]}) | values)
    def test_any_statistics(self, arguments: Any) -> None:
        with suppress(KeaProtocolError):
            assert isinstance(read_lease_statistics(arguments), int | None)
