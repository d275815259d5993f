"""A decision is decided again on what the journal kept, and comes out the same; where that can't be, it is said."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keawatch.core.comparison import Fate, Kind, Rival
from keawatch.core.decision import decide
from keawatch.core.facts import facts_of
from keawatch.core.logged import Logged, LogKind, LogSource
from keawatch.core.model import (
    Attempt,
    BackupServer,
    ConfigApart,
    HaState,
    History,
    NoAnswer,
    Off,
    Pause,
    Sibling,
    Snapshot,
)
from keawatch.core.policy import Autonomy, Policy
from keawatch.core.pools import Pool, PoolUse
from keawatch.core.rejects import Rejects
from keawatch.core.traffic import Answering, Traffic
from keawatch.daemon import replay as replaying
from keawatch.daemon.journal import Entry, Journal, entries_in
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.record import (
    LOOKED_AT,
    MOST_RIVALS,
    NotReplayableError,
    _alike,
    history_from,
    look_at,
    recorded,
)
from keawatch.daemon.replay import NoJournalError, Replayed, answer, decisions_in, replay
from tests import builders
from tests.builders import POLICY, Hand, at
from tests.core.seen import GATED, HEALTHY, TERMINATED, Srv, but, compared, differing, example, held, look, story
from tests.core.test_scenarios import STORIES, Story

ORDINARY = 30_000


def written(history: History, policy: Policy = POLICY) -> dict[str, Any]:
    """Return an entry's body as the loop writes it, and as it is read back."""
    decision = decide(history, policy)
    after = replace(history, diagnosed=decision.diagnosed)
    body: dict[str, Any] = json.loads(json.dumps(jsonable({"decision": decision, **recorded(after, policy)})))
    return body


def again(body: dict[str, Any]) -> Replayed:
    return next(replay([Entry(1, at(), "lan", "diagnosis", None, body)]))


def jittered(history: History) -> History:
    """Return *history* as a real clock has it: no two polls exactly two seconds apart."""
    shifts = [timedelta(microseconds=(number * 7919) % 1999) for number in range(len(history.snapshots))]
    seen = History()
    for snapshot, shift in zip(history.snapshots, shifts, strict=True):
        seen = seen.seen(replace(snapshot, taken_at=snapshot.taken_at + shift))
    return seen


HISTORIES: dict[str, Callable[[], History]] = {
    "healthy": lambda: held(HEALTHY, 20.0),
    "first look": lambda: held(HEALTHY, 0.0),
    "terminated": lambda: held(TERMINATED, 20.0),
    "held for as long as it must be, to the microsecond": lambda: jittered(held(TERMINATED, 6.0)),
    "left disabled": lambda: held(but(HEALTHY, "a", off=(1001,)), 60.0),
    "nobody serves": lambda: held(look(HaState.WAITING, HaState.WAITING), 200.0),
    "link broken": lambda: held(but(HEALTHY, "a", interrupted=True), 30.0),
    "a hole in the polls": lambda: jittered(held(but(HEALTHY, "a", off=(1001,)), 300.0, every=70.0)),
    "gate whose partner went": lambda: story((GATED, 10.0), (look(NoAnswer.TIMEOUT, GATED.b), 20.0)),
    "no hook": lambda: held(look(None, HaState.HOT_STANDBY), 20.0),
    "swapped": lambda: held(replace(TERMINATED, swapped=True), 20.0),
    "back and forth": lambda: story(*[(TERMINATED, 2.0), (look(HaState.WAITING, HaState.TERMINATED), 2.0)] * 30),
    "leases differ": lambda: differing(
        held(HEALTHY, 60.0), missing=3, fates={Fate.COPY: 1}, examples=tuple(example(n) for n in range(9))
    ),
}


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.parametrize("autonomy", Autonomy)
def test_a_decision_comes_out_the_same(name: str, autonomy: Autonomy) -> None:
    body = written(HISTORIES[name](), replace(POLICY, autonomy=autonomy))
    one = again(body)
    assert one.why is None
    assert one.was == one.now
    assert one.same


@pytest.mark.parametrize("name", HISTORIES)
def test_the_history_read_back_is_the_one_that_was_written(name: str) -> None:
    history = HISTORIES[name]()
    read, policy = history_from(written(history))
    assert policy == POLICY
    assert read.newest == history.newest
    assert [s.taken_at for s in (read.snapshots[0], read.newest)] == [history.snapshots[0].taken_at, history.now]
    assert len(read.snapshots) == len(history.snapshots)
    assert (read.spells, read.attempts, read.pause) == (history.spells, history.attempts, history.pause)
    assert [[o.word for o in s] for s in read.snapshots] == [[o.word for o in s] for s in history.snapshots]


def full() -> History:
    """Return a history of which every field holds something."""
    history = held(TERMINATED, 20.0)
    return replace(
        history,
        attempts=tuple(
            Attempt(f"p{n}", "TERMINATED_UNKNOWN", "cover", at(-900 + n), at(-890 + n), "failed") for n in range(2)
        ),
        pause=Pause(at(), at(3600), "a window", "ops"),
        acknowledged_at=at(-10),
        comparison=compared(history, counts={Kind.MISSING: 2}, rivals=(Rival("10.77.0.9", "x", "y", at(900)),)),
        comparing="a test wants it",
        reconciled_at=at(-100),
        alike_at=at(-90),
        rivals=tuple(Rival(f"10.77.0.{n}", "x", "y", at(600 + n)) for n in range(50)),
        counts_apart="b counts 3 fewer than a",
        counts_at=at(1),
        config_apart=ConfigApart("b", "p0", at(-500)),
        sibling=Sibling("a", acts="p9"),
        upkeep_due=at(5),
        pools=(Pool(PoolUse(1, "addresses", 250, 240, 1), at(3), ((at(-600), 100),)),),
        backups=(
            BackupServer(history.newest.first, at(-50), compared(history), "a test wants it", "d counts 3 fewer"),
        ),
        logged=(
            Logged(
                at(1.5),
                "a",
                LogKind.HA_LEASE_UPDATE_CONFLICT,
                client="60:3e:5f:80:81:8b",
                client_id="01:60:3e:5f:80:81:8b",
                result=4,
                reason="ResourceBusy: IP address:10.200.14.140 could not be updated.",
                text="HA_LEASE_UPDATE_CONFLICT a: …",
            ),
            Logged(at(2), "b", LogKind.LEASE_CMDS_UPDATE4_CONFLICT, address="10.200.14.140", subnet=7, lifetime=86400),
            Logged(at(3), "b", LogKind.LEASE_CMDS_UPDATE4_CONFLICT, subnet="10.1.0.0/24"),
        ),
        rejects=Rejects().heard(
            [
                Logged(
                    at(1), "a", LogKind.HA_LEASE_UPDATE_CONFLICT, client="x", address="10.1.0.1", reason="ResourceBusy"
                ),
                Logged(at(2), "a", LogKind.HA_TERMINATED),
                Logged(
                    at(3), "a", LogKind.HA_LEASE_UPDATE_CONFLICT, client="y", client_id="01:y", subnet="10.1.0.0/24"
                ),
            ],
            {},
        ),
        answering=(Answering("a", Traffic(at(4), 100, 40, 30), 10, at(2), at(4)),),
        off=(Off("a", "1001", at(-400), at(20)),),
        log_sources=(LogSource("a", "/var/log/dhcpd.log", up=False, why="it does not exist", since=at(1)),),
    )


def test_two_looks_are_one_exactly_when_the_same_is_kept_of_them() -> None:
    servers = [
        Srv("a", word, off=off, interrupted=cut, heard_ago=ago, reload=ago, partner_word=other)
        for word in (HaState.TERMINATED, None, NoAnswer.TIMEOUT)
        for off in ((), (1001,))
        for cut in (False, True)
        for ago in (1.0, 7.0)
        for other in (None, HaState.READY)
    ]
    seen = [server.seen(number) for number, server in enumerate(servers)]
    for one in seen:
        for other in seen:
            assert (_alike(one) == _alike(other)) == (look_at(one) == look_at(other))


def test_every_field_of_a_history_is_kept() -> None:
    history = full()
    read, _ = history_from(written(history))
    for name in History.__dataclass_fields__:
        if name not in {"snapshots", "comparison", "rivals", "diagnosed"}:
            assert getattr(read, name) == getattr(history, name), name
            assert getattr(read, name), f"{name} is empty here, so nothing is shown"
    assert {since.code for since in read.diagnosed} == {d.code for d in decide(history, POLICY).all}
    assert history.comparison
    assert read.comparison == replace(history.comparison, rivals=(), examples=())


def test_of_many_rivals_those_are_kept_that_last_longest() -> None:
    body = written(full())
    assert body["history"]["rivals_in_all"] == 50
    read, _ = history_from(body)
    assert len(read.rivals) == MOST_RIVALS
    assert min(rival.until for rival in read.rivals) == at(630)


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_is_replayed_to_the_same_end(path: Path) -> None:
    told = Story(tomllib.loads(path.read_text(encoding="utf-8")))
    rows = told.told["poll"]
    for row, after in zip(rows, [*rows[1:], {"at": rows[-1]["at"] + 2}], strict=True):
        told.happen(row)
        for when in range(row["at"], after["at"], 2):
            before = told.history.seen(told.snapshot(row, when))
            told.look(row, when)
            if when in {row["at"], after["at"] - 2}:
                one = again(written(before, told.policy))
                assert one.same, (when, one)


WORDS = st.sampled_from([*(s for s in HaState if s is not HaState.UNAVAILABLE), None, *NoAnswer])
SERVERS = st.builds(
    Srv,
    name=st.just("a"),
    word=WORDS,
    off=st.sampled_from([(), (1,), (1001,), (2001,), (1001, 2001)]),
    interrupted=st.booleans(),
    pauses=st.sampled_from([None, "always"]),
    ahead=st.sampled_from([0.0, 45.0, 90.0]),
)
LOOKS = st.builds(lambda a, b: look(a, replace(b, name="b")), SERVERS, SERVERS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(LOOKS, st.sampled_from([0.0, 4.0, 8.0, 30.0])), min_size=1, max_size=4),
    st.sampled_from([0.7, 2.0, 40.0]),
)
def test_whatever_was_seen_is_decided_alike(parts: list[tuple[Any, float]], every: float) -> None:
    one = again(written(jittered(story(*parts, every=every))))
    assert one.same, one


class TestTheSizeOfAnEntry:
    def size(self, history: History) -> int:
        return len(json.dumps(written(history)))

    def test_is_small_for_an_ordinary_pair(self) -> None:
        assert self.size(held(HEALTHY, 600.0)) < ORDINARY / 2
        assert (
            self.size(story((HEALTHY, 300.0), (look(HaState.WAITING, HaState.TERMINATED), 4.0), (TERMINATED, 20.0)))
            < ORDINARY
        )

    def test_stays_small_with_ten_looks_a_second(self) -> None:
        assert self.size(held(look(HaState.PARTNER_DOWN, HaState.SYNCING), 110.0, every=0.1)) < ORDINARY

    def test_is_bounded_for_a_pair_that_can_not_rest(self) -> None:
        restless = story(*[(TERMINATED, 2.0), (look(HaState.WAITING, HaState.TERMINATED), 2.0)] * 60)
        attempts = tuple(
            Attempt(f"2026-{n}-long-name", "TERMINATED_UNKNOWN", "cover", at(n), at(n), "ok") for n in range(50)
        )
        assert self.size(replace(restless, attempts=attempts)) < 2 * ORDINARY


class TestAnotherAnswer:
    def test_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        body = written(held(TERMINATED, 20.0))

        def otherwise(history: History, policy: Policy) -> Any:
            return decide(history, replace(policy, autonomy=Autonomy.OBSERVE))

        monkeypatch.setattr(replaying, "decide", otherwise)
        one = again(body)
        assert one.same is False
        assert one.was
        assert one.now
        assert (one.was.act, one.now.act) == (True, False)
        assert ("seamless", "autonomy") in one.now.guards
        assert "(withheld)" in str(one.now)

    def test_of_a_code_that_is_unknown_now_is_one(self) -> None:
        body = written(held(HEALTHY, 20.0))
        body["decision"]["diagnosis"]["code"] = "GONE"
        assert again(body).same is False

    def test_is_an_error_too_and_hides_no_other_decision(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(history: History, policy: Policy) -> Any:
            raise ZeroDivisionError("by nobody")

        monkeypatch.setattr(replaying, "decide", fails)
        one = again(written(held(HEALTHY, 20.0)))
        assert one.same is False
        assert "ZeroDivisionError: by nobody" in str(one.now)

    def test_in_other_words_is_none(self) -> None:
        body = written(held(HEALTHY, 20.0))
        body["decision"]["diagnosis"]["sentence"] = "All is well."
        assert again(body).same


def changed(body: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    body = copy.deepcopy(body)
    *path, last = where.split(".")
    part = body
    for key in path:
        part = part[key]
    part[last] = value
    return body


@pytest.mark.parametrize(
    ("where", "value", "says"),
    [
        ("history.form", 2, "newer keawatch"),
        ("history.omens", [1], "omens"),
        ("policy.patience", 3.0, "patience"),
        ("snapshot.first.answer.ha.mood", "bad", "mood"),
        ("snapshot.first.answer.ha.state", "dreaming", "state"),
        ("history.earlier.looks", [], "not whole"),
        ("history.spells", {"fields": ["server"], "rows": [["a", "b"]]}, "not whole"),
        ("history.earlier.runs", [[0, 1, "2026-08-01T12:00:00Z", "2026-08-01T12:00:01Z", 10**9]], "more snapshots"),
        ("history", None, "newer keawatch"),
        ("snapshot", None, ""),
        ("decision", {}, "decision"),
    ],
)
def test_what_is_not_understood_is_no_difference(where: str, value: Any, says: str) -> None:
    one = again(changed(written(held(HEALTHY, 20.0)), where, value))
    assert one.same is None
    assert one.why
    assert says in one.why


def test_an_entry_of_an_older_keawatch_is_no_difference() -> None:
    body = written(held(HEALTHY, 20.0))
    one = again({key: value for key, value in body.items() if key not in LOOKED_AT - {"snapshot"}})
    assert one.same is None
    assert one.was
    assert "did not keep" in str(one.why)


def test_a_field_that_is_new_has_its_default_in_an_older_entry() -> None:
    body = written(held(HEALTHY, 20.0))
    del body["policy"]["watch_leases"], body["history"]["upkeep_due"]
    assert again(body).same


class TestARuleThatAsksForMoreThanIsKept:
    @pytest.mark.parametrize(
        "asks",
        [
            lambda s: s.first.facts.leases,
            lambda s: s.first.status.reload,
            lambda s: s.first.partner.age,
            lambda s: s.clock_skew,
            lambda s: s.first.at,
        ],
    )
    def test_is_not_answered_with_a_default(
        self, asks: Callable[[Snapshot], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def curious(history: History, policy: Policy) -> Any:
            facts_of(history, policy).held(lambda snapshot: asks(snapshot) is not None)
            return decide(history, policy)

        history = held(HEALTHY, 20.0)
        curious(history, POLICY)
        monkeypatch.setattr(replaying, "decide", curious)
        one = again(written(history))
        assert one.same is None
        assert "not kept" in str(one.why)

    def test_may_ask_the_newest_look_for_all(self) -> None:
        read, _ = history_from(written(held(HEALTHY, 20.0)))
        assert read.newest.first.facts.leases == 1200
        with pytest.raises(NotReplayableError):
            read.snapshots[0].first.facts  # noqa: B018 - reading it is the test

    def test_gets_the_state_and_the_service_of_each(self) -> None:
        read, _ = history_from(written(held(HEALTHY, 20.0)))
        assert all(snapshot.first.serves and snapshot.both_answered for snapshot in read.snapshots)


class TestTheFile:
    @pytest.fixture
    def journal(self, tmp_path: Path) -> Iterator[Journal]:
        with closing(Journal(tmp_path / "state", Hand())) as journal:
            journal.write("lan", "started")
            history = held(TERMINATED, 20.0)
            journal.write("lan", "diagnosis", {"decision": decide(history, POLICY), **recorded(history, POLICY)})
            yield journal

    def test_may_be_the_journal_of_a_daemon_at_work(self, journal: Journal) -> None:
        assert [one.same for one in replay(decisions_in(journal.path))] == [True]
        journal.write("lan", "started")

    def test_may_be_a_copy_without_its_wal_and_is_left_as_it_is(self, journal: Journal, tmp_path: Path) -> None:
        journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        copied = tmp_path / "copy" / "of it?.sqlite3"
        copied.parent.mkdir()
        copied.write_bytes(journal.path.read_bytes())
        copied.chmod(0o400)
        copied.parent.chmod(0o500)
        assert [one.same for one in replay(decisions_in(copied))] == [True]
        assert list(copied.parent.iterdir()) == [copied]

    def test_may_be_lines_of_json(self, journal: Journal, tmp_path: Path) -> None:
        lines = tmp_path / "journal.jsonl"
        lines.write_text("\n".join(json.dumps(jsonable(entry)) for entry in entries_in(journal.path)) + "\n\n")
        assert [one.same for one in replay(decisions_in(lines))] == [True]

    def test_is_read_from_its_end(self, journal: Journal) -> None:
        assert [entry.kind for entry in entries_in(journal.path)] == ["started", "diagnosis"]
        assert [entry.kind for entry in entries_in(journal.path, limit=1)] == ["diagnosis"]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\n",
            b"[watch]\n",
            b'{"kind": "x"}\n',
            b"[]\n",
            b"\xff\xfe",
            b"SQLite format 3\0 and no more",
            b'{"entries": []}',
            pytest.param(b'{"body": ' + b"[" * 100_000, id="deep"),
        ],
    )
    def test_that_is_none_is_said(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "file"
        path.write_bytes(content)
        with pytest.raises(NoJournalError, match=r"is no journal .*: name the journal\.sqlite3"):
            decisions_in(path)

    def test_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(NoJournalError, match="nowhere"):
            decisions_in(tmp_path / "nowhere")


def test_the_loop_writes_what_can_be_replayed(tmp_path: Path) -> None:
    import anyio.lowlevel  # noqa: PLC0415 - for this test alone

    stage = builders.stage(tmp_path, builders.snapshot(HaState.TERMINATED, HaState.TERMINATED))

    async def live() -> None:
        await stage.loop.start()
        for _ in range(8):
            stage.clock.move(2.0)
            await stage.loop.run_once()
            await anyio.lowlevel.checkpoint()
        await stage.loop.stop()

    anyio.run(live)
    replayed = list(replay(stage.journal.entries()))
    assert len(replayed) >= 2
    assert [one.same for one in replayed] == [True] * len(replayed), replayed
    assert any(one.was and one.was.act for one in replayed)
    assert answer(decide(held(HEALTHY, 9.0), POLICY)) == replaying.Answer(("OK",), None, False, ())
