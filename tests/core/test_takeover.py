"""A server is told to serve alone only beside a partner that is proven dead, and only where clients wait for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from keawatch.core.codes import Code, Severity
from keawatch.core.decision import Decision, Guard, decide
from keawatch.core.model import HaState, History, Mode, NoAnswer, Sibling
from keawatch.core.plan import Command, Fact, Plan, Work, unmet
from keawatch.core.policy import Policy
from tests.builders import POLICY
from tests.core.seen import ALL_COMMANDS, Look, Srv, Word, held, look

HS, LB, T = HaState.HOT_STANDBY, HaState.LOAD_BALANCING, HaState.TERMINATED
TAKES = replace(POLICY, take_over=True)
FENCES = replace(TAKES, fences=("a", "b"))
TAKES_SERVICE = {Command.HA_RESET, Command.CONFIG_SET, Command.HA_SYNC}


def dead(name: str, mode: Mode = Mode.HOT_STANDBY) -> Srv:
    return Srv(name, NoAnswer.REFUSED, mode, dead=True)


def silent(name: str, kind: NoAnswer = NoAnswer.TIMEOUT, mode: Mode = Mode.HOT_STANDBY) -> Srv:
    return Srv(name, kind, mode)


def alone(name: str, word: Word = HS, mode: Mode = Mode.HOT_STANDBY, *, interrupted: bool = False) -> Srv:
    """Return a server whose own heartbeats to its partner fail."""
    return Srv(name, word, mode, partner_word=HaState.UNAVAILABLE, interrupted=interrupted, heard_ago=9.0)


STANDBY_DEAD = look(alone("a"), dead("b"))
PRIMARY_DEAD = look(dead("a"), alone("b"))
TERMINATED_ALONE = look(dead("a"), Srv("b", T))


def seen(one: Look, policy: Policy = TAKES, seconds: float = 20.0) -> Decision:
    return decide(held(one, seconds), policy)


def plan_of(made: Decision) -> Plan:
    assert made.plan is not None, made.withheld
    return made.plan


class TestASurvivor:
    @pytest.mark.parametrize("one", [STANDBY_DEAD, PRIMARY_DEAD, TERMINATED_ALONE])
    def test_is_told_to_serve_alone_beside_a_partner_that_is_proven_dead(self, one: Look) -> None:
        made = seen(one)
        assert made.diagnosis.code is Code.NOT_TAKEN_OVER
        assert made.diagnosis.severity is Severity.CRITICAL
        assert made.act
        assert plan_of(made).strategy == "take-over"
        assert Command.HA_MAINTENANCE_START in {order.command for order in plan_of(made).orders}
        assert not any(step.work for step in plan_of(made).steps), "nobody is fenced who is proven dead"

    @pytest.mark.parametrize("word", [LB, HaState.COMMUNICATION_RECOVERY])
    @pytest.mark.parametrize("gone", ["a", "b"])
    def test_is_told_so_in_load_balancing(self, word: HaState, gone: str) -> None:
        mode = Mode.LOAD_BALANCING
        a, b = (dead("a", mode), alone("b", word, mode)) if gone == "a" else (alone("a", word, mode), dead("b", mode))
        made = seen(look(a, b, mode=mode))
        assert made.act
        scopes = [order.arguments["scopes"] for order in plan_of(made).orders if order.command is Command.HA_SCOPES]
        assert scopes == [["a", "b"]]

    @pytest.mark.parametrize("kind", NoAnswer)
    @pytest.mark.parametrize("seconds", [20.0, 280.0])
    def test_is_never_told_so_on_a_silence_alone_not_even_by_a_person(self, kind: NoAnswer, seconds: float) -> None:
        for one in (look(alone("a"), silent("b", kind)), look(silent("a", kind), alone("b", interrupted=True))):
            for by_operator in (False, True):
                made = decide(held(one, seconds), TAKES, by_operator=by_operator)
                assert made.plan is None
                assert made.diagnosis.code is Code.SERVER_UNREACHABLE
                assert any("a time-out is no proof" in reason.reason for reason in made.withheld)

    @pytest.mark.parametrize("one", [look(Srv("a", HS), dead("b")), look(dead("a"), Srv("b", HS))])
    def test_is_not_told_so_while_it_hears_its_partner(self, one: Look) -> None:
        """A control socket can be lost while the server lives: the heartbeats between the two are the second witness."""
        made = seen(one)
        assert made.plan is None
        assert made.diagnosis.code is Code.SERVER_UNREACHABLE

    @pytest.mark.parametrize("word", [HaState.PARTNER_DOWN, HaState.WAITING, HaState.SYNCING, HaState.READY, None])
    def test_is_left_to_kea_where_kea_does_it_itself(self, word: Word) -> None:
        assert seen(look(dead("a"), alone("b", word, interrupted=True))).plan is None

    def test_is_left_alone_as_a_terminated_primary_that_serves_everybody(self) -> None:
        assert seen(look(Srv("a", T), dead("b"))).plan is None

    def test_keeps_its_half_when_it_is_terminated_in_load_balancing(self) -> None:
        mode = Mode.LOAD_BALANCING
        made = seen(look(dead("a", mode), Srv("b", T, mode), mode=mode))
        assert made.diagnosis.code is Code.NOT_TAKEN_OVER
        assert made.plan is None
        assert any("still serves its own clients" in one.reason for one in made.withheld)

    def test_needs_its_owners_choice_or_a_person(self) -> None:
        made = seen(STANDBY_DEAD, POLICY)
        assert not made.act
        assert {one.guard for one in made.withheld} == {Guard.NOT_CHOSEN}
        assert decide(held(STANDBY_DEAD, 20.0), POLICY, by_operator=True).act

    @pytest.mark.parametrize(
        "missing",
        [Command.HA_MAINTENANCE_START, Command.HA_MAINTENANCE_CANCEL, Command.HA_SCOPES],
    )
    def test_that_could_not_take_it_back_is_not_told(self, missing: Command) -> None:
        one = replace(STANDBY_DEAD, a=replace(STANDBY_DEAD.a, commands=ALL_COMMANDS - {missing}))
        made = seen(one)
        assert made.plan is None
        assert any(missing in held_back.reason for held_back in made.withheld)


class TestTheFinding:
    @pytest.mark.parametrize(
        ("one", "words"),
        [
            (STANDBY_DEAD, "60 s after it last heard it"),
            (TERMINATED_ALONE, "a terminated server never takes over"),
            (PRIMARY_DEAD, "until it has heard nothing for 60 s"),
        ],
    )
    def test_says_what_is_wrong_what_proves_it_and_what_to_do(self, one: Look, words: str) -> None:
        sentence = seen(one).diagnosis.sentence
        assert "its own host says so" in sentence
        assert words in sentence
        assert "keawatch heal" in sentence


class TestEachStep:
    @pytest.mark.parametrize("one", [STANDBY_DEAD, PRIMARY_DEAD, TERMINATED_ALONE])
    def test_asks_again_for_the_proof_before_it_sends_anything_that_could_make_two_serve(self, one: Look) -> None:
        plan = plan_of(seen(one))
        alive_again = replace(one, a=Srv("a", HS) if one.a.dead else one.a, b=Srv("b", HS) if one.b.dead else one.b)
        unproven = replace(one, a=replace(one.a, dead=False), b=replace(one.b, dead=False))
        for step in plan.steps:
            if step.order is None or step.rescue:
                continue
            for changed in (alive_again, unproven):
                snapshot = held(changed, 0.0).newest
                assert any(unmet(c, snapshot, snapshot) for c in step.before), step.key

    @pytest.mark.parametrize(("one", "hears"), [(STANDBY_DEAD, "a"), (PRIMARY_DEAD, "b")])
    def test_is_not_sent_to_a_survivor_that_has_heard_its_partner_after_all(self, one: Look, hears: str) -> None:
        changed = replace(one, **{hears: Srv(hears, HS)})  # type: ignore[arg-type]
        snapshot = held(changed, 0.0).newest
        (step,) = [step for step in plan_of(seen(one)).steps if step.key == "survivor-alone"]
        assert any(unmet(c, snapshot, snapshot) for c in step.before)

    def test_of_a_terminated_survivor_needs_it_to_serve_nobody(self) -> None:
        plan = plan_of(seen(TERMINATED_ALONE))
        serving = held(replace(TERMINATED_ALONE, b=Srv("b", T, scopes=("b",))), 0.0).newest
        for step in plan.steps:
            if step.order and step.order.command in TAKES_SERVICE:
                assert any(unmet(c, serving, serving) for c in step.before), step.key

    def test_takes_an_order_to_rest_back_also_when_the_plan_is_given_up(self) -> None:
        plan = plan_of(seen(STANDBY_DEAD))
        (cancel,) = [s for s in plan.steps if s.order and s.order.command is Command.HA_MAINTENANCE_CANCEL]
        resting = held(look(HaState.PARTNER_IN_MAINTENANCE, HaState.IN_MAINTENANCE), 0.0).newest
        assert cancel.rescue
        assert not any(unmet(c, resting, resting) for c in (*cancel.only_if, *cancel.before))

    def test_ends_only_with_a_survivor_that_is_alone_and_serves(self) -> None:
        last = plan_of(seen(STANDBY_DEAD)).steps[-1]
        assert last.required
        assert {c.fact for c in last.after} == {Fact.STATE, Fact.SERVES}

    @pytest.mark.parametrize(
        ("one", "policy"),
        [(STANDBY_DEAD, TAKES), (TERMINATED_ALONE, TAKES), (look(alone("a"), silent("b")), FENCES)],
    )
    def test_is_skipped_once_the_survivor_serves_alone(self, one: Look, policy: Policy) -> None:
        """Taken up after a crash, a plan that has reached its end fences nobody and resets nobody."""
        name = "a" if one.b.word in set(NoAnswer) else "b"
        over = replace(one, **{name: Srv(name, HaState.PARTNER_DOWN)})  # type: ignore[arg-type]
        snapshot = held(over, 0.0).newest
        for step in plan_of(seen(one, policy)).steps:
            if step.order or step.work:
                assert any(unmet(c, snapshot, snapshot) for c in step.only_if), step.key

    @pytest.mark.parametrize(
        ("key", "one"),
        [
            ("survivor-forgets", TERMINATED_ALONE),
            ("survivor-reset", TERMINATED_ALONE),
            ("survivor-anew", TERMINATED_ALONE),
            ("survivor-alone", PRIMARY_DEAD),
            ("survivor-not-alone", look(dead("a"), HaState.PARTNER_IN_MAINTENANCE)),
            ("survivor-scopes", look(dead("a"), Srv("b", HaState.PARTNER_DOWN, scopes=()))),
            ("survivor-serves", look(dead("a"), Srv("b", HaState.PARTNER_DOWN, scopes=()))),
            ("survivor-serves", look(dead("a"), Srv("b", HaState.PARTNER_IN_MAINTENANCE))),
        ],
    )
    def test_is_not_taken_for_done_while_nothing_has_changed(self, key: str, one: Look) -> None:
        (step,) = [step for step in plan_of(seen(TERMINATED_ALONE)).steps if step.key == key]
        snapshot = held(one, 0.0).newest
        assert not any(unmet(c, snapshot, snapshot) for c in step.only_if), "it is looked at where it has to be done"
        assert any(unmet(c, snapshot, snapshot) for c in step.after)


class TestAFence:
    def test_stands_in_for_the_hosts_word_about_a_standby_as_soon_as_it_is_confirmed(self) -> None:
        made = seen(look(alone("a"), silent("b")), FENCES, 10.0)
        assert made.act
        fence = plan_of(made).steps[0]
        assert (fence.work, fence.about, fence.again, fence.required) == (Work.FENCE, "b", True, True)

    @pytest.mark.parametrize(("seconds", "acts"), [(118.0, False), (122.0, True)])
    def test_of_a_primary_waits_twice_as_long_as_kea_does(self, seconds: float, acts: bool) -> None:
        one = look(silent("a"), alone("b", interrupted=True))
        assert decide(held(one, seconds), FENCES).act is acts

    @pytest.mark.parametrize(("gone", "seconds", "acts"), [("b", 58.0, False), ("b", 62.0, True), ("a", 62.0, False)])
    def test_of_two_that_share_the_clients_only_one_shoots_first(self, gone: str, seconds: float, acts: bool) -> None:
        mode = Mode.LOAD_BALANCING
        a = silent("a", mode=mode) if gone == "a" else alone("a", LB, mode, interrupted=True)
        b = silent("b", mode=mode) if gone == "b" else alone("b", LB, mode, interrupted=True)
        assert decide(held(look(a, b, mode=mode), seconds), FENCES).act is acts

    def test_is_not_run_on_keawatchs_word_alone(self) -> None:
        """A terminated server sends no heartbeats, and its partner may be serving everybody."""
        made = decide(held(look(silent("a"), Srv("b", T)), 280.0), FENCES)
        assert made.plan is None
        assert any("is not fenced" in one.reason for one in made.withheld)

    def test_is_not_run_while_the_partner_hears_the_server(self) -> None:
        assert decide(held(look(silent("a"), Srv("b", HS)), 280.0), FENCES).plan is None

    def test_that_says_yes_of_a_server_that_answers_is_not_believed(self) -> None:
        fence = plan_of(seen(look(alone("a"), silent("b")), FENCES)).steps[0]
        snapshot = held(look(alone("a"), HaState.WAITING), 0.0).newest
        assert any(unmet(c, snapshot, snapshot) for c in fence.after)

    def test_is_not_run_on_a_server_that_has_come_back(self) -> None:
        fence = plan_of(seen(look(alone("a"), silent("b")), FENCES)).steps[0]
        for changed in (look(alone("a"), HaState.WAITING), look(Srv("a", HS), silent("b"))):
            snapshot = held(changed, 0.0).newest
            assert any(unmet(c, snapshot, snapshot) for c in fence.before)


class TestTwoKeawatches:
    """SICK pairs and a keawatch on the other server's host."""

    def beside(self, seconds: float, **more: object) -> History:
        history = held(look(T, T), seconds)
        return replace(history, sibling=Sibling("a", **more))  # type: ignore[arg-type]

    def test_one_that_does_not_lead_follows_one_that_says_that_it_can_not(self) -> None:
        assert decide(self.beside(20.0, unable="is paused"), POLICY).act

    @pytest.mark.parametrize(("seconds", "acts"), [(34.0, False), (36.0, True)])
    def test_one_that_does_not_hear_the_leader_waits_until_the_pair_has_stood_still(
        self, seconds: float, acts: bool
    ) -> None:
        made = decide(self.beside(seconds, unable="gives no answer", answers=False), POLICY)
        assert made.act is acts
        assert acts or {one.guard for one in made.withheld} == {Guard.SIBLING_LEADS}

    def test_one_that_leads_waits_for_no_silent_one(self) -> None:
        history = replace(held(look(T, T), 20.0), sibling=Sibling("b", unable="gives no answer", answers=False))
        assert decide(history, POLICY).act

    def test_taking_over_does_not_wait_for_a_keawatch_that_is_gone_with_its_host(self) -> None:
        history = replace(held(PRIMARY_DEAD, 10.0), sibling=Sibling("a", unable="gives no answer", answers=False))
        assert decide(history, TAKES).act

    def test_a_person_may_have_the_other_one_do_it_but_not_beside_a_plan_under_way(self) -> None:
        assert decide(self.beside(20.0), POLICY, by_operator=True).act
        assert not decide(self.beside(20.0, acts="p3"), POLICY, by_operator=True).act
