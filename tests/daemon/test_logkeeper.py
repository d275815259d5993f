"""What the logs say is counted once, over restarts and kills, whichever log is read first; and a log that can't be read is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from keawatch.core.model import HaState, History
from keawatch.core.rejects import Rejected
from keawatch.daemon import logkeeper
from keawatch.daemon.clock import now
from keawatch.daemon.journal import Journal
from keawatch.daemon.logfollow import Follower, Position, Read, Source
from keawatch.daemon.logkeeper import LogKeeper
from tests.builders import snapshot

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def stamp(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03}"


def senders(n: int, at: datetime) -> str:
    return (
        f"{stamp(at)} WARN  [kea-dhcp4.ha-hooks/1.2] HA_LEASE_UPDATE_CONFLICT a: lease update [hwtype=1 02:00:00:00:00:{n:02x}], "
        f"cid=[01:02:00:00:00:00:{n:02x}], tid=0x{n:x} sent to b (http://10.77.0.3:8765/) returned conflict status code: ResourceBusy: "
        f"IP address:10.77.0.{n} could not be updated. (error code 4)\n"
    )


def receivers(n: int, at: datetime) -> str:
    lease = {
        "client-id": f"01:02:00:00:00:00:{n:02x}",
        "hw-address": f"02:00:00:00:00:{n:02x}",
        "ip-address": f"10.77.0.{n}",
        "origin": "ha-partner",
        "subnet-id": 1,
        "valid-lft": 4000,
    }
    return (
        f"{stamp(at)} WARN  [kea-dhcp4.lease-cmds-hooks/1.2] LEASE_CMDS_UPDATE4_CONFLICT lease4-update command failed due to conflict "
        f"(parameters: {json.dumps(lease)}, reason: ResourceBusy: IP address:10.77.0.{n} could not be updated.)\n"
    )


@dataclass
class Stage:
    """Two logs, and a keawatch that may be killed."""

    folder: Path
    begun: datetime = field(default_factory=lambda: now() - timedelta(minutes=10))
    keeper: LogKeeper = field(init=False)
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.logs = {server: self.folder / f"{server}.log" for server in "ab"}
        for log in self.logs.values():
            log.touch()
        self.start()

    def start(self, *, acts: bool = True, logs: str = "ab") -> None:
        self.journal = Journal(self.folder)
        sources = tuple(Source(server, 4, str(self.logs[server])) for server in logs)
        self.keeper = LogKeeper("lan", sources, self.journal, acts=acts)
        self.history = self.keeper.start(History())

    def kill(self) -> None:
        self.journal.close()
        self.start()

    async def stop(self) -> None:
        await self.keeper.aclose(self.history)
        self.journal.close()

    async def round(self, state: HaState = HaState.HOT_STANDBY) -> None:
        seen = snapshot(state, HaState.HOT_STANDBY)
        moment = now()
        self.history = self.history.seen(
            replace(seen, taken_at=moment, first=replace(seen.first, at=moment), second=replace(seen.second, at=moment))
        )
        self.history = self.keeper.heard(self.history, await self.keeper.read())

    def at(self, seconds: float) -> datetime:
        return self.begun + timedelta(seconds=seconds)

    def say(self, server: str, line: str) -> None:
        with self.logs[server].open("a") as log:
            log.write(line)

    @property
    def clients(self) -> tuple[Rejected, ...]:
        return self.history.rejects.counted("a", now())

    @property
    def conflicts(self) -> int:
        return sum(tally.conflicts for tally in self.history.rejects.tallies)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_a_conflict_that_stands_in_both_logs_is_one_in_whatever_order_they_are_read(stage: Stage) -> None:
    for first, second in (("a", "b"), ("b", "a")):
        for n in range(3):
            client = n if first == "a" else 10 + n
            line = {"a": senders(client, stage.at(n)), "b": receivers(client, stage.at(n + 0.01))}
            stage.say(first, line[first])
            await stage.round()
            stage.say(second, line[second])
            await stage.round()
    assert [client.times for client in stage.clients] == [1] * 6
    assert stage.conflicts == 6
    assert {client.subnet for client in stage.clients} == {1}
    await stage.stop()


async def test_one_client_that_is_refused_again_and_again_is_counted_so_often(stage: Stage) -> None:
    for n in range(5):
        stage.say("a", senders(1, stage.at(n)))
    for n in range(5):
        stage.say("b", receivers(1, stage.at(n + 0.01)))
    await stage.round()
    (client,) = stage.clients
    assert client.times == 5
    assert abs(client.first_at - stage.at(0)) < timedelta(seconds=0.002)
    assert stage.conflicts == 5
    await stage.stop()


@pytest.mark.parametrize("end", ["killed", "stopped"])
async def test_a_restart_counts_nothing_twice_and_leaves_nothing_out(stage: Stage, end: str) -> None:
    for n in range(4):
        stage.say("a", senders(n, stage.at(n)))
    stage.say("b", receivers(0, stage.at(0)))
    await stage.round()
    for n in range(4, 6):  # While it is away; of one conflict only one log was read.
        stage.say("a", senders(n, stage.at(n)))
    for n in range(1, 6):
        stage.say("b", receivers(n, stage.at(n)))
    if end == "killed":
        stage.kill()
    else:
        await stage.stop()
        stage.start()
    assert len(stage.clients) == 4
    await stage.round()
    assert [client.times for client in stage.clients] == [1] * 6
    assert stage.conflicts == 6
    await stage.stop()


async def test_killed_before_it_could_write_down_it_reads_the_same_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.say("a", senders(1, stage.at(0)))
    await stage.round()
    with monkeypatch.context() as patch:
        patch.setattr(LogKeeper, "_keep", lambda *_, **__: None)
        stage.say("a", senders(2, stage.at(1)))
        await stage.round()
        assert len(stage.clients) == 2
    stage.kill()
    assert [client.client[-2:] for client in stage.clients] == ["01"]
    await stage.round()
    assert stage.conflicts == 2
    assert [client.client[-2:] for client in stage.clients] == ["01", "02"]
    await stage.stop()


async def test_what_a_server_has_forgotten_before_its_line_was_read_counts_no_more(stage: Stage) -> None:
    for n in range(3):
        stage.say("a", senders(n, stage.at(n)))
    await stage.round(HaState.TERMINATED)
    await stage.round()
    stage.say("b", receivers(2, stage.at(2)))
    stage.say("b", receivers(3, stage.at(2.5)))
    await stage.round()
    assert stage.clients == ()
    (storm,) = stage.history.rejects.storms
    assert sorted(client.client[-2:] for client in storm.clients) == ["00", "01", "02", "03"]
    assert stage.conflicts == 4
    await stage.stop()


async def test_one_that_only_looks_reads_on_and_leaves_the_place_to_the_daemon(stage: Stage) -> None:
    stage.say("a", senders(1, stage.at(0)))
    await stage.round()
    await stage.stop()
    stage.say("a", senders(2, stage.at(1)))
    stage.start(acts=False)
    await stage.round()
    assert len(stage.clients) == 2
    await stage.stop()
    stage.start()
    await stage.round()
    assert (len(stage.clients), stage.conflicts) == (2, 2)
    await stage.stop()


async def test_another_log_for_the_same_server_is_read_from_its_own_place(stage: Stage) -> None:
    stage.say("a", senders(1, stage.at(0)) * 3)
    await stage.round()
    await stage.stop()
    stage.logs["a"] = stage.folder / "other.log"
    stage.say("a", senders(2, stage.at(1)))
    stage.start()
    await stage.round()
    assert len(stage.clients) == 2
    await stage.stop()


async def test_a_log_of_which_only_one_side_is_on_this_host_is_enough(stage: Stage) -> None:
    await stage.stop()
    stage.start(logs="b")
    stage.say("b", receivers(1, stage.at(0)) + receivers(2, stage.at(1)))
    await stage.round()
    assert [client.server for client in stage.clients] == ["a", "a"]
    await stage.stop()


async def test_a_log_that_can_not_be_read_is_said_until_it_can(stage: Stage) -> None:
    stage.logs["a"].unlink()
    await stage.round()
    a, b = stage.history.log_sources
    assert not a.up
    assert "does not exist" in (a.why or "")
    assert a.heard_at is None
    assert (b.up, b.why) == (True, None)
    since = a.since
    await stage.round()
    assert stage.history.log_sources[0].since == since
    stage.say("a", senders(1, stage.at(0)))
    await stage.round()
    (a, _) = stage.history.log_sources
    assert (a.up, a.why) == (True, None)
    assert a.heard_at is not None
    assert (a.since or now()) > (since or now())
    await stage.stop()


class Stuck(Follower):
    """A log on a file system that does not answer."""

    def __init__(self, answer: Callable[[], Read]) -> None:
        self.answer = answer

    def read(self) -> Read:
        return self.answer()

    def close(self) -> None: ...


async def test_a_log_that_hangs_keeps_no_round_waiting(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading  # noqa: PLC0415

    freed = threading.Event()

    def hang() -> Read:
        freed.wait(20)
        return Read(position=Position())

    await stage.stop()
    monkeypatch.setattr(Source, "follow", lambda *_: Stuck(hang))
    monkeypatch.setattr(logkeeper, "FIRST_PATIENCE", 0.1)
    monkeypatch.setattr(logkeeper, "PATIENCE", 0.1)
    stage.start()
    stage.keeper._patience = 0.1
    before = asyncio.get_running_loop().time()
    await stage.round()
    await stage.round()
    assert asyncio.get_running_loop().time() - before < 5.0
    assert not stage.history.log_sources[0].up
    freed.set()
    await stage.stop()


async def test_an_error_of_our_own_is_said_and_ends_no_round(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> Read:
        raise RuntimeError("no such thing")

    await stage.stop()
    monkeypatch.setattr(Source, "follow", lambda *_: Stuck(fail))
    stage.start()
    await stage.round()
    assert stage.history.log_sources[0].why == "an error inside keawatch: RuntimeError: no such thing."
    await stage.stop()


async def test_what_another_version_wrote_down_is_not_stumbled_over(stage: Stage) -> None:
    await stage.stop()
    stage.journal = Journal(stage.folder)
    stage.journal.set_setting("lan", "logs", {"positions": {"a": {"place": 3}}})
    stage.journal.close()
    stage.say("a", senders(1, stage.at(0)))
    stage.start()
    await stage.round()
    assert len(stage.clients) == 1
    await stage.stop()


async def test_a_silent_log_is_not_written_down_each_round(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    keep = Journal.set_setting

    def noted(journal: Journal, pair: str, name: str, body: object) -> None:
        written.append(name)
        keep(journal, pair, name, body)

    monkeypatch.setattr(Journal, "set_setting", noted)
    for n in range(10):
        stage.say("a", f"{stamp(stage.at(n))} INFO  [kea-dhcp4.leases/1.2] DHCP4_LEASE_ALLOC x\n")
        await stage.round(HaState.TERMINATED)
    assert len(written) == 1
    stage.say("a", senders(1, now() + timedelta(seconds=60)))
    await stage.round(HaState.TERMINATED)
    assert len(written) == 2
    await stage.stop()
