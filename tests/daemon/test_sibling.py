"""What the keawatch on the other host says is believed only when it is fresh, understood, and about the Kea beside it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from keawatch.core.model import NoAnswer, Silence
from keawatch.daemon.clock import now
from keawatch.daemon.sibling import SiblingWatch, Where, WitnessedServer
from keawatch.kea.client import Who
from tests.core.seen import TERMINATED, held, look

pytestmark = pytest.mark.anyio

WHERE = Where("http://192.0.2.2:9745", "b", frozenset({"a", "b"}), "dhcp4")
THERE = datetime(2031, 1, 1, 12, 0, tzinfo=UTC)
"""The other host's clock, which need not be ours."""
SNAPSHOT = held(TERMINATED, 0.0).newest


def server(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "answer": "ok", "dead": False, "note": None, **more}


def pair(**more: Any) -> dict[str, Any]:
    known = {
        "service": "dhcp4",
        "autonomy": "auto",
        "paused": None,
        "trouble": None,
        "plan": None,
        "seen_at": (THERE - timedelta(seconds=2)).isoformat().replace("+00:00", "Z"),
        "servers": [server("a"), server("b")],
    }
    return {**known, **more}


def watch(*pairs: Any, status: int = 200, marks: dict[str, str] | None = None) -> SiblingWatch:
    headers = {"x-keawatch": "1", "date": format_datetime(THERE, usegmt=True)} if marks is None else marks

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"pairs": list(pairs)}, headers=headers)

    return SiblingWatch(WHERE, httpx.MockTransport(answer))


def broken(error: Exception) -> SiblingWatch:
    def answer(_: httpx.Request) -> httpx.Response:
        raise error

    return SiblingWatch(WHERE, httpx.MockTransport(answer))


async def test_one_that_could_act_and_does_nothing() -> None:
    heard = await watch(pair()).look(SNAPSHOT)
    assert (heard.beside, heard.acts, heard.unable, heard.answers) == ("b", None, None, True)


async def test_one_at_work() -> None:
    heard = await watch(pair(plan={"id": "p1", "under_way": True})).look(SNAPSHOT)
    assert heard.acts == "p1"
    assert (await watch(pair(plan={"id": "p1", "under_way": False})).look(SNAPSHOT)).acts is None


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"autonomy": "suggest"}, "may not act"),
        ({"paused": {"owner": "ops"}}, "is paused"),
        ({"trouble": "the journal is lost"}, "the journal is lost"),
        ({"servers": [server("a", answer="timeout"), server("b")]}, "does not see a"),
    ],
)
async def test_one_that_can_not_act_says_why(told: dict[str, Any], words: str) -> None:
    heard = await watch(pair(**told)).look(SNAPSHOT)
    assert heard.answers
    assert heard.unable
    assert words in heard.unable


async def test_one_that_sees_as_little_as_we_do_is_as_able_as_we_are() -> None:
    one = held(look(NoAnswer.TIMEOUT, TERMINATED.b), 0.0).newest
    heard = await watch(pair(servers=[server("a", answer="timeout"), server("b")])).look(one)
    assert heard.unable is None


OLD = (THERE - timedelta(seconds=40)).isoformat()


@pytest.mark.parametrize(
    "sibling",
    [
        watch(),
        watch(pair(service="dhcp6")),
        watch(pair(servers=[server("a"), server("c")])),
        watch(pair(seen_at=OLD)),
        watch(pair(), status=503),
        watch(pair(), marks={"date": format_datetime(THERE, usegmt=True)}),
        watch(pair(), marks={"x-keawatch": "1"}),
        watch("nonsense"),
        watch({"service": "dhcp4"}),
        watch(pair(plan=["x"])),
        broken(httpx.ConnectError("no")),
        broken(httpx.ReadTimeout("no")),
        broken(OSError("no")),
    ],
)
class TestOneThatIsNotHeardRightly:
    async def test_is_unknown(self, sibling: SiblingWatch) -> None:
        heard = await sibling.look(SNAPSHOT)
        assert not heard.answers
        assert heard.unable

    async def test_proves_nothing(self, sibling: SiblingWatch) -> None:
        # Only a plan that can't be read leaves the servers readable, and here they live.
        assert await sibling.says_dead() is None


class TestItsWordThatTheKeaBesideItIsGone:
    async def observed(self, sibling: SiblingWatch | None) -> Silence:
        one = WitnessedServer(Who("b", "a"), (), now)
        one.witness = sibling
        answer = (await one.observe(1.0)).answer
        assert isinstance(answer, Silence)
        return answer

    async def test_makes_of_a_silence_a_proven_death(self) -> None:
        dead = pair(servers=[server("a"), server("b", answer="refused", dead=True, note="nobody listens at /run/kea")])
        answer = await self.observed(watch(dead))
        assert answer.daemon_dead
        assert "nobody listens at /run/kea" in answer.detail

    @pytest.mark.parametrize(
        "told",
        [
            pair(),
            pair(servers=[server("a"), server("b", answer="timeout")]),
            pair(servers=[server("a", dead=True), server("b", answer="timeout")]),
            pair(servers=[server("a"), server("b", dead="true")]),
            pair(servers=[server("a"), server("b", dead=True)], seen_at=OLD),
        ],
    )
    async def test_is_needed_in_full(self, told: dict[str, Any]) -> None:
        assert not (await self.observed(watch(told))).daemon_dead

    async def test_is_not_sought_where_there_is_no_sibling(self) -> None:
        assert not (await self.observed(None)).daemon_dead
