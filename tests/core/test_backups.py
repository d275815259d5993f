"""A backup server that lacks leases is said and filled, after the pair and never at its cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keawatch.core.backups import backup_due, unwatched
from keawatch.core.codes import Code, Severity
from keawatch.core.comparison import Comparison
from keawatch.core.decision import Decision, Guard, decide
from keawatch.core.model import (
    Attempt,
    BackupServer,
    HaState,
    HaStatus,
    History,
    Mode,
    NoAnswer,
    Observation,
    Peer,
    Role,
    ServerFacts,
    ServerStatus,
    Silence,
)
from keawatch.core.plan import Condition, Fact, Order, Work
from keawatch.core.policy import Autonomy
from tests.builders import POLICY
from tests.core.seen import ALL_COMMANDS, HEALTHY, SHARED, TERMINATED, but, compared, config, differing, facts, held

WELL = differing(held(HEALTHY, 120.0))
READ = frozenset({"lease4-get-page", "ha-sync", "status-get"})


def backup(history: History, word: HaState | NoAnswer = HaState.BACKUP, **more: Any) -> BackupServer:
    """Return a backup server that has been like this for 100 s."""
    since, reload = more.pop("since", 100.0), more.pop("reload", 36000.0)
    known = {"version": "3.0.4", "commands": ALL_COMMANDS} | {
        key: more.pop(key) for key in ("version", "commands") if key in more
    }
    answer: ServerStatus | Silence
    if isinstance(word, NoAnswer):
        answer = Silence(word)
    else:
        answer = ServerStatus(HaStatus(word, Role.BACKUP, Mode.HOT_STANDBY), reload=reload)
    seen = Observation("d", history.now, answer, ServerFacts(**known))
    return BackupServer(seen, history.now - timedelta(seconds=since), **more)


def beside(history: History, *backups: BackupServer) -> History:
    return replace(history, backups=backups)


def against(history: History, *, ago: float = 10.0, **more: Any) -> Comparison:
    """Return a comparison of the primary with the backup server."""
    return compared(history, ago=ago, **({"compared": {"a": 1000, "d": 700}} | more))


def behind(history: History = WELL, **more: Any) -> History:
    own = {key: more.pop(key) for key in ("word", "since", "commands", "version") if key in more}
    return beside(history, backup(history, comparison=against(history, **({"missing": 300} | more)), **own))


def made(history: History, **more: Any) -> Decision:
    return decide(history, replace(POLICY, **more))


class TestWhatIsSaid:
    def test_is_nothing_beside_a_pair_without_any(self) -> None:
        assert [found.code for found in made(WELL).all] == [Code.OK]

    def test_is_what_it_lacks_and_the_pair_is_well_and_redundant_all_the_same(self) -> None:
        decision = made(behind())
        assert [found.code for found in decision.all] == [Code.OK, Code.BACKUP_BEHIND]
        assert "d lacks 300 leases that a has" in decision.also[0].sentence
        assert decision.also[0].severity is Severity.WARNING
        assert decision.redundant
        assert decision.serving

    def test_is_that_it_is_silent_only_after_a_minute(self) -> None:
        for since, codes in ((59.0, [Code.OK]), (61.0, [Code.OK, Code.BACKUP_SILENT])):
            history = beside(WELL, backup(WELL, NoAnswer.REFUSED, since=since))
            assert [found.code for found in made(history).all] == codes

    def test_is_that_one_has_become_another_s_server(self) -> None:
        (_, told) = made(beside(WELL, backup(WELL, HaState.HOT_STANDBY))).all
        assert told.code is Code.BACKUP_SILENT
        assert "d is hot-standby and no backup" in told.sentence

    def test_is_no_difference_of_before_it_went_away(self) -> None:
        assert [found.code for found in made(behind(since=5.0)).all] == [Code.OK]

    def test_is_told_by_numbers_where_the_leases_can_not_be_listed(self) -> None:
        counted = "d counts 300 leases fewer than a"
        history = beside(WELL, backup(WELL, counts_apart=counted, commands={"ha-sync", "status-get"}))
        assert counted in made(history).also[0].sentence
        readable = beside(WELL, backup(WELL, counts_apart=counted))
        assert [found.code for found in made(readable).all] == [Code.OK]

    def test_names_in_the_evidence_one_that_is_not_watched(self) -> None:
        ha = config("a")
        ha = replace(ha, peers=(*ha.peers, Peer("d", Role.BACKUP, "http://10.77.0.4:8765/")))
        history = held(but(HEALTHY, "a", ha=ha), 20.0)
        assert unwatched(facts(history)) == ("d",)
        assert any("d is a backup server" in line for line in made(history).diagnosis.evidence)
        assert unwatched(facts(beside(history, backup(history)))) == ()


class TestTheRefill:
    def test_is_work_on_the_backup_server_alone_and_costs_nothing(self) -> None:
        decision = made(behind())
        assert decision.act
        assert decision.plan
        assert decision.plan.announced_pause == 0.0
        (step,) = decision.plan.steps
        assert (step.work, step.backup, step.order) == (Work.REFILL, "d", None)
        assert Condition(Fact.SERVES, "a") in step.before

    @pytest.mark.parametrize("own", [{"missing": 3}, {"suspicious": "a looks as if it had lost its own"}])
    def test_waits_until_the_pair_s_own_leases_are_alike(self, own: dict[str, Any]) -> None:
        decision = made(behind(differing(held(HEALTHY, 120.0), **own)))
        assert decision.plan is None or decision.plan.strategy == "reconcile"
        never = made(behind(differing(held(HEALTHY, 120.0), **own)), autonomy=Autonomy.SUGGEST)
        assert never.plan is None or never.plan.strategy != "refill"

    def test_is_not_begun_beside_a_pair_that_is_not_at_work(self) -> None:
        decision = made(behind(differing(held(TERMINATED, 120.0))))
        assert decision.plan is None or decision.plan.strategy not in {"refill", "refill-sync"}

    def test_never_touches_one_that_says_it_is_no_backup_server(self) -> None:
        assert made(behind(word=HaState.HOT_STANDBY)).plan is None

    def test_leaves_more_than_the_cap_to_a_person(self) -> None:
        history = behind(missing=0, extra=300)
        assert Guard.RECONCILE_CAP in {held.guard for held in made(history).withheld}
        assert decide(history, POLICY, by_operator=True).act

    def test_does_not_believe_a_primary_that_looks_empty(self) -> None:
        history = behind(suspicious="a looks as if it had lost its own", extra=900, missing=0)
        held_back = {held.guard: held.reason for held in made(history).withheld}
        assert "keawatch heal" in held_back[Guard.SUSPICIOUS]

    def test_is_one_of_its_own_kind_for_the_breaker(self) -> None:
        tried = [
            Attempt(
                f"p{n}",
                "X",
                "reconcile",
                WELL.now - timedelta(seconds=600),
                WELL.now - timedelta(seconds=590),
                "failed",
            )
            for n in range(3)
        ]
        assert made(replace(behind(), attempts=tuple(tried))).act


class TestKeaSOwnSync:
    def synced(self, history: History, **more: Any) -> Decision:
        return made(behind(history, commands=READ, **more))

    def test_is_left_to_a_person_with_its_pause_announced(self) -> None:
        decision = self.synced(WELL)
        assert not decision.act
        assert decision.plan
        assert decision.plan.strategy == "refill-sync"
        assert decision.plan.announced_pause > 0.0
        assert Guard.TAKES_SERVICE in {held.guard for held in decision.withheld}
        assert decide(behind(commands=READ), POLICY, by_operator=True).act

    def test_is_ordered_of_the_backup_server_from_the_one_that_serves_nobody_with_a_timer(self) -> None:
        plan = self.synced(WELL).plan
        assert plan
        (order,) = plan.orders
        assert order == Order("d", order.command, {"server-name": "b", "max-period": order.arguments["max-period"]})
        assert order.command == "ha-sync"
        assert order.arguments["max-period"] > plan.announced_pause

    def test_is_over_when_its_source_is_switched_on_again(self) -> None:
        plan = self.synced(WELL).plan
        assert plan
        assert Condition(Fact.NOT_SWITCHED_OFF_BY, "b", ("2000",)) in plan.steps[0].after

    def test_is_from_the_primary_where_both_serve(self) -> None:
        plan = self.synced(differing(held(SHARED, 120.0), authority=None)).plan
        assert plan
        assert plan.orders[0].arguments["server-name"] == "a"

    @pytest.mark.parametrize("version", ["2.2.0", "2.4.1"])
    def test_is_not_offered_where_kea_fetches_from_another_server(self, version: str) -> None:
        decision = self.synced(WELL, version=version)
        assert decision.plan is None
        assert any("mended in 2.5.8" in held.reason for held in decision.withheld)


class TestAComparisonIsDue:
    def why(self, one: BackupServer, history: History = WELL) -> str | None:
        return backup_due(one, beside(history, one), POLICY)

    def test_at_first(self) -> None:
        assert self.why(backup(WELL)) == "it is the first since keawatch was started"

    def test_not_again_for_nothing(self) -> None:
        assert self.why(backup(WELL, comparison=against(WELL, ago=5.0))) is None

    def test_when_it_came_back(self) -> None:
        assert self.why(backup(WELL, since=5.0, comparison=against(WELL, ago=60.0)))

    def test_when_it_was_restarted_unseen(self) -> None:
        assert self.why(backup(WELL, reload=5.0, comparison=against(WELL, ago=60.0)))

    def test_when_a_plan_has_ended_since(self) -> None:
        at, before = WELL.now, WELL.now - timedelta(seconds=9.0)
        one = backup(WELL, comparison=against(WELL, ago=10.0))
        for strategy, due in (("reconcile", True), ("refill", False)):
            history = replace(differing(WELL, ago=0.0), attempts=(Attempt("p", "X", strategy, before, at, "ok"),))
            assert bool(self.why(one, history)) is due

    def test_when_counts_differ_and_not_each_minute(self) -> None:
        apart: dict[str, Any] = {"counts_apart": "d counts 3 leases fewer than a"}
        assert self.why(backup(WELL, comparison=against(WELL, ago=70.0), **apart))
        again = against(WELL, ago=70.0, why="the lease counts differ: so they do")
        assert self.why(backup(WELL, comparison=again, **apart)) is None

    def test_when_some_addresses_never_settled(self) -> None:
        assert self.why(backup(WELL, comparison=against(WELL, ago=70.0, settled=False)))

    @pytest.mark.parametrize(
        "history", [held(HEALTHY, 120.0), replace(WELL, comparing="x"), differing(held(TERMINATED, 120.0))]
    )
    def test_never_before_the_pair_s_own(self, history: History) -> None:
        assert self.why(backup(history), history) is None

    def test_never_of_one_that_is_silent_or_compared_just_now_or_can_not_be_read(self) -> None:
        assert self.why(backup(WELL, NoAnswer.TIMEOUT)) is None
        assert self.why(backup(WELL, comparing="x")) is None
        assert self.why(backup(WELL, commands={"ha-sync"})) is None
