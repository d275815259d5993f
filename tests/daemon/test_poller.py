"""Both servers are asked at once, and the slower one never holds up what is known of the other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from keawatch.core.model import HaState, NoAnswer, Observation, ServerFacts, Silence
from keawatch.daemon.poller import FACTS_EVERY, Poller
from tests.builders import answering, facts, silent
from tests.daemon.kea_like import FAST, clock, seconds

pytestmark = pytest.mark.anyio

HS = HaState.HOT_STANDBY


@pytest.fixture
def anyio_backend() -> Any:
    return FAST


@dataclass
class Slow:
    """A server that answers after so long."""

    name: str
    word: HaState = HS
    takes: float = 0.01
    silent: bool = False
    facts: ServerFacts = field(default_factory=ServerFacts)
    facts_wanted: bool = False
    facts_take: float = 0.5
    fails: bool = False
    """Its facts can't be read for an error of our own."""
    asked_at: list[float] = field(default_factory=list)
    facts_at: list[float] = field(default_factory=list)

    async def observe(self, deadline: float) -> Observation:
        self.asked_at.append(seconds())
        await asyncio.sleep(min(self.takes, deadline))
        if self.silent or self.takes > deadline:
            return replace(silent(self.name), at=clock(), facts=self.facts)
        return replace(answering(self.name, self.word), at=clock(), facts=self.facts)

    async def refresh_facts(self, deadline: float = 5.0) -> None:
        self.facts_at.append(seconds())
        await asyncio.sleep(self.facts_take)
        if self.fails:
            raise ValueError("a mistake of ours")
        self.facts, self.facts_wanted = facts(self.name), False

    async def refresh_traffic(self, deadline: float = 4.0) -> None:
        """Count nothing."""


@dataclass
class Watched:
    """A poller over two slow servers."""

    a: Slow = field(default_factory=lambda: Slow("a"))
    b: Slow = field(default_factory=lambda: Slow("b"))

    def __post_init__(self) -> None:
        self.poller = Poller((self.a, self.b), patience=1.0, deadline=6.0, clock=clock)


@pytest.fixture
def pair() -> Watched:
    return Watched()


async def test_both_answer_at_once_in_the_order_of_the_configuration(pair: Watched) -> None:
    pair.a.takes = pair.b.takes = 0.3
    snapshot = await pair.poller.poll()
    assert [o.server for o in snapshot] == ["a", "b"]
    assert snapshot.both_answered
    assert seconds() == pytest.approx(0.3, abs=0.01)
    await pair.poller.aclose()


@pytest.mark.parametrize("hung", ["a", "b"])
async def test_a_hung_server_never_delays_the_other(pair: Watched, hung: str) -> None:
    slow, quick = (pair.a, pair.b) if hung == "a" else (pair.b, pair.a)
    slow.takes = 1e6
    for _ in range(20):
        began = seconds()
        snapshot = await pair.poller.poll()
        assert seconds() - began <= 1.01
        assert snapshot.of(quick.name).state is HS
        seen = snapshot.of(hung)
        assert isinstance(seen.answer, Silence)
        assert seen.answer.kind is NoAnswer.TIMEOUT
        await asyncio.sleep(1.0)
    assert len(quick.asked_at) == 20
    await pair.poller.aclose()


async def test_a_hung_server_is_not_asked_twice_at_a_time(pair: Watched) -> None:
    pair.a.takes = 1e6
    for _ in range(10):
        await pair.poller.poll()
        await asyncio.sleep(1.0)
    gaps = [later - earlier for earlier, later in zip(pair.a.asked_at, pair.a.asked_at[1:], strict=False)]
    assert gaps
    assert min(gaps) >= 6.0
    await pair.poller.aclose()


async def test_a_late_answer_is_used_in_the_next_round(pair: Watched) -> None:
    pair.a.takes = 1.5
    first = await pair.poller.poll()
    assert isinstance(first.first.answer, Silence)
    assert "asked 1.0 s ago" in first.first.answer.detail
    await asyncio.sleep(1.0)
    second = await pair.poller.poll()
    assert second.first.state is HS
    assert second.first.at < second.taken_at
    assert len(pair.a.asked_at) == 1
    await pair.poller.aclose()


async def test_an_answer_is_used_once(pair: Watched) -> None:
    await pair.poller.poll()
    pair.a.word = HaState.TERMINATED
    assert (await pair.poller.poll()).first.state is HaState.TERMINATED
    await pair.poller.aclose()


async def test_two_who_ask_at_once_get_an_answer_each(pair: Watched) -> None:
    """A comparison that a person asks for ends with a look of its own, beside the rounds."""
    pair.a.takes = pair.b.takes = 0.3
    first, second = await asyncio.gather(pair.poller.poll(), pair.poller.poll())
    assert first.both_answered
    assert second.both_answered
    assert pair.a.asked_at == [0.0, 0.3]


async def test_facts_are_read_when_wanted_and_now_and_then(pair: Watched) -> None:
    await pair.poller.first_facts(within=10.0)
    assert len(pair.a.facts_at) == 1
    for _ in range(10):
        await pair.poller.poll()
        await asyncio.sleep(1.0)
    assert len(pair.a.facts_at) == 1
    pair.a.facts_wanted = True
    await pair.poller.poll()
    await asyncio.sleep(1.0)
    await pair.poller.poll()
    assert (len(pair.a.facts_at), len(pair.b.facts_at)) == (2, 1)
    await asyncio.sleep(FACTS_EVERY + 1.0)
    await pair.poller.poll()
    await asyncio.sleep(1.0)
    assert (len(pair.a.facts_at), len(pair.b.facts_at)) == (3, 2)
    await pair.poller.aclose()


async def test_facts_are_read_beside_the_rounds(pair: Watched) -> None:
    pair.a.facts_wanted, pair.a.facts_take = True, 4.0
    for _ in range(3):
        began = seconds()
        await pair.poller.poll()
        assert seconds() - began < 0.1
        await asyncio.sleep(1.0)
    assert len(pair.a.facts_at) == 1, "never twice at a time"
    await asyncio.sleep(2.0)
    assert (await pair.poller.poll()).first.facts.version == "2.6.3"
    await pair.poller.aclose()


async def test_a_silent_server_is_not_asked_for_facts(pair: Watched) -> None:
    pair.a.silent = pair.a.facts_wanted = True
    await pair.poller.poll()
    await asyncio.sleep(1.0)
    assert pair.a.facts_at == []
    assert len(pair.b.facts_at) == 1
    pair.a.silent = False
    await pair.poller.poll()
    await asyncio.sleep(0.1)
    assert len(pair.a.facts_at) == 1
    await pair.poller.aclose()


async def test_nothing_is_read_any_more_once_it_is_closed(pair: Watched) -> None:
    """The connections are closed behind it, and a question to a closed one is an error of ours."""
    pair.a.facts_take, pair.a.fails = 1.0, True
    reading = asyncio.create_task(pair.poller.first_facts(within=10.0))
    await asyncio.sleep(0.1)
    await pair.poller.aclose()
    with capture_logs() as lines:
        await reading
        await asyncio.sleep(2.0)
        assert (await pair.poller.poll()).both_answered
        await asyncio.sleep(2.0)
    assert lines == []
    assert len(pair.a.facts_at) == 1


async def test_the_first_facts_wait_only_so_long(pair: Watched) -> None:
    pair.a.facts_take = 1e6
    await pair.poller.first_facts(within=2.0)
    assert seconds() == pytest.approx(2.0, abs=0.01)
    assert pair.b.facts.version == "2.6.3"


async def test_an_error_of_our_own_in_the_facts_stops_no_round(pair: Watched) -> None:
    pair.a.fails = True
    await pair.poller.first_facts(within=2.0)
    pair.a.facts_wanted = True
    for _ in range(3):
        assert (await pair.poller.poll()).both_answered
        await asyncio.sleep(1.0)
    await pair.poller.aclose()


async def test_at_the_end_no_question_is_left(pair: Watched) -> None:
    pair.a.takes, pair.b.facts_take, pair.b.facts_wanted = 1e6, 1e6, True
    await pair.poller.poll()
    await asyncio.sleep(0.1)
    await pair.poller.aclose()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in left if task.get_name().startswith(("observe", "facts"))]
