"""Every plan keeps the laws, whatever pair it is made for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from keawatch.core.codes import Code, Diagnosis, Severity
from keawatch.core.decision import decide
from keawatch.core.diagnosis import diagnose
from keawatch.core.model import HaState, History, Mode
from keawatch.core.plan import (
    Command,
    Condition,
    ConfigVariant,
    Fact,
    Order,
    Plan,
    Step,
    answers,
    serves,
    serves_for,
    serves_not,
    state,
)
from keawatch.core.policy import Policy, Strategy
from keawatch.core.proposals import NoPlan, Proposal
from keawatch.core.remedies import REMEDIES, propose
from keawatch.daemon.jsonable import jsonable, plan_from
from tests.builders import POLICY
from tests.core.builders import LEASE_COMMANDS
from tests.core.seen import (
    ALL_COMMANDS,
    GATED,
    HEALTHY,
    MODES,
    SHARED,
    TERMINATED,
    Look,
    Srv,
    but,
    config,
    differing,
    facts,
    held,
    look,
)

T = HaState.TERMINATED
W = HaState.WAITING
PD = HaState.PARTNER_DOWN
SERVICE_TAKERS = {Command.HA_RESET, Command.CONFIG_SET, Command.CONFIG_RELOAD, Command.DHCP_DISABLE}

RESTRICTED = frozenset({"ha-heartbeat", "ha-reset", "status-get", "dhcp-enable", "dhcp-disable", "lease4-get-page"})
"""About what a restricted HA listener of Kea 3.0 accepts."""

PAIRS: dict[str, Look] = {
    "both": TERMINATED,
    "swapped": replace(TERMINATED, swapped=True),
    "primary": look(T, W),
    "standby": look(W, T),
    "load-balancing": look(T, T, mode=Mode.LOAD_BALANCING),
    "load-balancing-one": look(T, W, mode=Mode.LOAD_BALANCING),
    "partner-down": look(PD, T),
    "kea-2.2": but(but(TERMINATED, "a", version="2.2.0"), "b", version="2.2.0"),
    "restricted-standby": but(TERMINATED, "b", commands=RESTRICTED),
    "big": but(TERMINATED, "a", leases=500_000),
    "leases-unknown": but(but(TERMINATED, "a", leases=None), "b", leases=None),
    "held-at-the-gate": but(TERMINATED, "b", pauses="always"),
    "held-at-the-gate-sharing": but(look(T, T, mode=Mode.LOAD_BALANCING), "b", pauses="always"),
    "switched-off": but(HEALTHY, "a", off=(1, 1001, 2001)),
}


def proposals(one: Look, policy: Policy = POLICY) -> tuple[Proposal, ...]:
    seen = facts(held(one, 40.0), policy)
    return propose(diagnose(seen)[0], seen)


def plan(one: Look, strategy: str) -> Plan:
    found = [p for p in proposals(one) if isinstance(p, Plan) and p.strategy == strategy]
    assert len(found) == 1, proposals(one)
    return found[0]


def refusal(one: Look, strategy: str) -> str:
    found = [p.reason for p in proposals(one) if isinstance(p, NoPlan) and p.strategy == strategy]
    assert len(found) == 1, proposals(one)
    return found[0]


WELL, BALANCED = held(HEALTHY, 40.0), held(SHARED, 40.0)
LEASES: dict[str, History] = {
    "gate": held(GATED, 40.0),
    "gate-of-one-that-shares": held(but(SHARED, "a", word=HaState.READY, pauses="always"), 4.0),
    "held-too-long": held(GATED, 700.0, every=5.0),
    "differing": differing(WELL, missing=3),
    "differing-and-sharing": differing(BALANCED, authority=None, extra=3),
    "only-sync": differing(held(but(HEALTHY, "b", commands=ALL_COMMANDS - LEASE_COMMANDS), 40.0), missing=3),
    "upkeep": replace(WELL, upkeep_due=WELL.now),
    "upkeep-of-two-that-share": replace(BALANCED, upkeep_due=BALANCED.now),
}


def every_plan() -> Iterator[tuple[str, Plan]]:
    histories = {name: held(one, 40.0) for name, one in PAIRS.items()} | LEASES
    for name, history in histories.items():
        seen = facts(history)
        for proposal in propose(diagnose(seen)[0], seen):
            if isinstance(proposal, Plan):
                yield f"{name}-{proposal.strategy}", proposal


PLANS = dict(every_plan())
every = pytest.mark.parametrize("made", PLANS.values(), ids=PLANS.keys())


def test_the_pairs_give_plans_of_every_kind() -> None:
    leases = {"gate", "continue", "reconcile", "resync", "upkeep"}
    assert {made.strategy for made in PLANS.values()} == {"seamless", "cover", "reset", "enable", *leases}
    assert len(PLANS) >= 30


# --- the laws


@every
def test_keys_are_unique(made: Plan) -> None:
    keys = [step.key for step in made.steps]
    assert len(set(keys)) == len(keys)


@every
def test_a_plan_says_what_it_does(made: Plan) -> None:
    assert len(made.summary) > 30
    assert all(step.title for step in made.steps)
    assert made.id.startswith("20260801T12")
    assert made.id.endswith(made.strategy)


@every
def test_a_plan_survives_the_journal(made: Plan) -> None:
    assert plan_from(json.loads(json.dumps(jsonable(made)))) == made


def shares(made: Plan) -> bool:
    """Return whether a plan is for a pair that shares its clients."""
    return any(step.key == "primary-own-half" for step in made.steps)


def quiet(made: Plan) -> bool:
    """Return whether a plan switches the secondary off for a while."""
    return any(step.key == "standby-quiet" for step in made.steps)


@every
def test_a_plan_ends_by_seeing_service(made: Plan) -> None:
    last = made.steps[-1]
    assert last.required
    assert last.rest
    if last.key == "continue":
        # Whoever serves then, a server that was held is not held any more.
        assert [condition.fact for condition in last.after] == [Fact.NOT_STATE]
        return
    if made.strategy == "seamless" and last.key != "standby-loud":
        # Service is seen, and what follows is work that goes on for as long as it is.
        assert last.work
        assert serves("a") in last.before
        last = made.steps[-2]
        assert last.required
        assert last.rest
    assert any(condition.fact in {Fact.SERVES, Fact.SERVES_FOR} for condition in last.after)


@every
def test_every_order_is_checked_by_what_is_seen_after_it(made: Plan) -> None:
    assert all(step.after for step in made.steps if step.order)
    assert all(step.order or step.after or step.pause or step.work for step in made.steps)
    assert all(step.order for step in made.steps if step.then)
    assert all(order.server == step.order.server for step in made.steps if step.order for order in step.then)


@every
def test_a_step_is_a_command_or_work_and_never_both(made: Plan) -> None:
    assert not any(step.order and step.work for step in made.steps)


@every
def test_work_on_leases_says_what_must_hold_all_the_while(made: Plan) -> None:
    """The performer looks at it again and again, and stops the work when its ground is gone."""
    for step in made.steps:
        if step.work:
            assert any(condition.fact is Fact.SERVES for condition in step.before)
            if step.key != "alike-again":  # Both are at work by then: a standby that is lost ends the work by itself.
                assert {condition.server for condition in step.before} == {"a", "b"}
            if made.strategy not in {"cover", "reset"}:
                assert made.announced_pause <= (0.1 if shares(made) else 0.02)


@every
def test_no_plan_sends_more_than_one_server_can_lose(made: Plan) -> None:
    """An order that takes service away says in *before* how the other server must stand."""
    for step in made.steps:
        if not (step.order and step.order.command in SERVICE_TAKERS) or step.key == "standby-back":
            continue
        assert step.before, step.key


@every
def test_the_primary_is_never_reset_before_the_standby_waits(made: Plan) -> None:
    for step in made.steps:
        if step.order and step.order.command is Command.HA_RESET and step.order.server == "a":
            need = [c for c in step.before if c.server == "b" and c.fact is Fact.STATE]
            assert need, step.key
            assert all(HaState.TERMINATED not in c.values for c in need)
            assert all(HaState.WAITING in c.values for c in need)


@every
def test_the_primary_is_never_reconfigured_or_switched_off(made: Plan) -> None:
    if made.strategy == "enable":
        return
    harsh = SERVICE_TAKERS - {Command.HA_RESET}
    assert not [order for order in made.orders if order.server == "a" and order.command in harsh]


@every
def test_the_standby_is_reset_or_reloaded_only_while_it_serves_nobody(made: Plan) -> None:
    for step in made.steps:
        if made.strategy == "reset" and step.order and step.order.server == "b":
            if step.order.command is Command.HA_CONTINUE:
                assert step.only_if == (state("b", HaState.READY),)
                continue
            assert serves_not("b") in step.before


@every
def test_a_sync_is_asked_for_only_to_forget_and_never_of_a_standby_that_serves(made: Plan) -> None:
    for step in made.steps:
        if made.strategy == "resync":
            assert serves("a") in step.before
            assert serves_not("b") in step.before
        elif step.order and step.order.command is Command.HA_SYNC:
            assert step.key == "primary-forget"
            assert made.strategy in {"seamless", "cover"}
            assert state("b", W, HaState.READY) in step.before
            assert step.may_refuse
            assert step.unfetchable == "b"


AWAY = {ConfigVariant.ASIDE, ConfigVariant.ESTRANGED, ConfigVariant.CLOSED}


@every
def test_what_is_changed_for_a_while_is_put_back(made: Plan) -> None:
    for step in made.steps:
        if step.key == "standby-aside":
            assert step.order
            assert step.order.config in AWAY
            back = Order(step.order.server, Command.CONFIG_SET, config=ConfigVariant.RECORDED)
            assert step.compensation == back
            assert not step.rest
            if made.strategy == "seamless":  # It comes back as it was, but for Kea's own sync.
                back = replace(back, config=ConfigVariant.REJOIN)
            later = made.steps[made.steps.index(step) + 1 :]
            assert back in [s.order for s in later]
            between = later[: [s.order for s in later].index(back)]
            assert not any(s.rest for s in between), "a plan is never left while the standby is aside"


@every
def test_nothing_that_disables_is_sent_without_a_timer(made: Plan) -> None:
    for order in made.orders:
        if order.command is Command.DHCP_DISABLE:
            assert order.server == "b"
            assert 0 < order.arguments["max-period"] <= 300
        if order.command is Command.HA_SYNC:
            assert 0 < order.arguments["max-period"] <= 60


def test_a_secondary_serves_only_when_its_leases_are_the_primarys() -> None:
    """It would give out again what the primary leased since the catch-up: they lease from the same pools."""
    keys = [step.key for step in plan(PAIRS["load-balancing"], "seamless").steps]
    wanted = [
        "standby-rejoin",
        "standby-quiet",
        "primary-joined",
        "primary-for-both-again",
        "alike-quickly",
        "standby-loud",
        "together",
        "primary-own-half",
        "alike-again",
    ]
    assert keys[-len(wanted) :] == wanted
    joined = next(step for step in plan(PAIRS["load-balancing"], "seamless").steps if step.key == "primary-joined")
    assert joined.after == (state("a", HaState.LOAD_BALANCING),), "until then it copies nothing to the secondary"


def test_a_secondary_that_is_switched_off_for_a_while_is_switched_on_however_the_plan_ends() -> None:
    step = next(step for step in plan(PAIRS["load-balancing"], "seamless").steps if step.key == "standby-quiet")
    assert step.compensation == Order("b", Command.DHCP_ENABLE)


@pytest.mark.parametrize("name", ["both", "held-at-the-gate-sharing"])
def test_nobody_is_kept_quiet_who_does_not_serve_or_is_held_at_a_gate(name: str) -> None:
    assert not quiet(plan(PAIRS[name], "seamless"))


@every
def test_a_healing_looks_at_the_clocks_first(made: Plan) -> None:
    if made.strategy not in set(Strategy):
        return
    first = next(step for step in made.steps if step.order)
    assert Condition(Fact.CLOCKS_AGREE, "a", ("30",)) in first.before


@every
def test_deadlines_are_finite_and_not_negative(made: Plan) -> None:
    assert all(0 < step.deadline < 3600 for step in made.steps)
    assert made.announced_pause >= 0


# --- cover


def test_cover_tries_both_configurations_before_it_sets_one() -> None:
    orders = [(o.command, o.config) for o in plan(TERMINATED, "cover").orders if o.server == "b"]
    assert orders[:3] == [
        (Command.CONFIG_TEST, ConfigVariant.CLOSED),
        (Command.CONFIG_TEST, ConfigVariant.RECORDED),
        (Command.CONFIG_SET, ConfigVariant.CLOSED),
    ]
    assert orders[-1] == (Command.CONFIG_SET, ConfigVariant.RECORDED)


def test_cover_sees_the_primary_serve_before_the_standby_comes_back() -> None:
    keys = [step.key for step in plan(TERMINATED, "cover").steps]
    assert keys.index("standby-aside") < keys.index("primary-reset") < keys.index("primary-serves")
    assert keys.index("primary-serves") < keys.index("standby-back") < keys.index("together")


def test_cover_gives_both_scopes_where_the_load_is_shared() -> None:
    steps = {step.key: step for step in plan(PAIRS["load-balancing"], "cover").steps}
    order = steps["primary-scopes"].order
    assert order
    assert order.arguments == {"scopes": ["a", "b"]}
    assert serves("b") in steps["together"].after
    assert state("b", HaState.LOAD_BALANCING) in steps["together"].after


def test_cover_announces_a_longer_pause_for_more_leases() -> None:
    few, many, unknown = (plan(PAIRS[name], "cover").announced_pause for name in ("both", "big", "leases-unknown"))
    assert few == unknown == pytest.approx(10.5)
    assert many == pytest.approx(10.0 + 500_000 / POLICY.sync_rate, abs=0.1)


@pytest.mark.parametrize("version", ["1.9.0", "2.0.3", "2.2.0"])
def test_a_kea_that_never_forgets_a_skew_is_not_covered(version: str) -> None:
    assert f"runs Kea {version}" in refusal(but(TERMINATED, "a", version=version), "cover")


@pytest.mark.parametrize("version", ["2.4.0", "2.6.3", "3.0.4"])
def test_a_kea_that_forgets_is_covered(version: str) -> None:
    assert plan(but(TERMINATED, "a", version=version), "cover").steps


@pytest.mark.parametrize(
    ("server", "command"),
    [
        ("b", Command.CONFIG_SET),
        ("b", Command.CONFIG_TEST),
        ("a", Command.HA_RESET),
        ("a", Command.HA_MAINTENANCE_START),
        ("a", Command.HA_SCOPES),
        ("a", Command.HA_SYNC),
    ],
)
def test_cover_needs_its_commands_and_names_what_is_missing(server: str, command: Command) -> None:
    reason = refusal(but(TERMINATED, server, commands=ALL_COMMANDS - {command}), "cover")
    assert reason.startswith(f"{server} accepts {command} at none")


def test_a_standby_behind_a_control_agent_can_not_step_aside() -> None:
    behind = replace(config("b"), dedicated_listener=False)
    before_names = but(TERMINATED, "b", ha=behind, version="2.4.1")
    assert "Control Agent" in refusal(before_names, "cover")
    assert plan(but(TERMINATED, "b", ha=behind), "cover").steps


def test_a_standby_whose_configuration_can_not_be_read_can_not_step_aside() -> None:
    assert "can't be read" in refusal(but(TERMINATED, "b", no_ha_config=True), "cover")


def test_cover_is_for_a_terminated_primary() -> None:
    for one in (look(W, T), look(PD, T)):
        assert "needs a terminated primary" in refusal(one, "cover")


# --- reset


def test_reset_resets_the_standby_first() -> None:
    made = plan(TERMINATED, "reset")
    servers = [order.server for order in made.orders]
    assert servers == sorted(servers, reverse=True)
    assert made.announced_pause > 0


def test_reset_costs_nothing_where_nobody_is_served_anyway() -> None:
    assert plan(look(W, T), "reset").announced_pause == 0.0


def test_reset_beside_a_primary_that_serves_alone_announces_the_pause_of_a_rejoin() -> None:
    # The standby's sync switches the primary off, until its next heartbeat.
    assert plan(look(PD, T), "reset").announced_pause > 10.0


def test_the_last_resort_of_reset_is_the_running_configuration() -> None:
    steps = {step.key: step for step in plan(TERMINATED, "reset").steps}
    assert steps["standby-reload"].order == Order("b", Command.CONFIG_SET, config=ConfigVariant.RECORDED)


def test_config_reload_is_only_the_second_choice() -> None:
    commands = ALL_COMMANDS - {Command.CONFIG_SET}
    steps = {step.key: step for step in plan(but(TERMINATED, "b", commands=commands), "reset").steps}
    assert steps["standby-reload"].order == Order("b", Command.CONFIG_RELOAD)


def test_a_configuration_that_can_not_be_read_is_not_set() -> None:
    commands = ALL_COMMANDS - {"config-get"}
    steps = {step.key: step for step in plan(but(TERMINATED, "b", commands=commands), "reset").steps}
    assert steps["standby-reload"].order == Order("b", Command.CONFIG_RELOAD)


def test_behind_a_restricted_listener_the_standby_is_reset_without_config_set() -> None:
    one = PAIRS["restricted-standby"]
    assert "config-set" in refusal(one, "cover")
    made = plan(one, "reset")
    assert {order.command for order in made.orders if order.server == "b"} == {Command.HA_RESET}
    reload = next(step for step in made.steps if step.key == "standby-reload")
    assert reload.order is None
    assert reload.required
    assert "neither config-set nor config-reload" in reload.title


def test_a_server_that_accepts_no_reset_is_not_reset() -> None:
    for server in ("a", "b"):
        one = but(TERMINATED, server, commands=ALL_COMMANDS - {Command.HA_RESET})
        assert refusal(one, "reset").startswith(server)


def test_a_standby_that_accepts_no_reset_beside_a_partner_down_primary_is_not_reset() -> None:
    one = but(PAIRS["partner-down"], "b", commands=ALL_COMMANDS - {Command.HA_RESET})
    assert refusal(one, "reset").startswith("b")


def test_half_the_clients_are_not_taken_offline_by_a_reset() -> None:
    assert "load-balancing" in refusal(PAIRS["load-balancing"], "reset")


# --- the table


def test_strategies_are_proposed_in_the_order_of_the_policy() -> None:
    policy = replace(POLICY, strategies=(Strategy.RESET, Strategy.COVER))
    assert [p.strategy for p in proposals(TERMINATED, policy)] == ["reset", "cover"]
    assert [p.strategy for p in proposals(TERMINATED, replace(POLICY, strategies=()))] == []


def test_the_first_way_that_can_be_gone_is_taken() -> None:
    made = decide(held(PAIRS["restricted-standby"], 40.0), POLICY)
    assert made.plan
    assert made.plan.strategy == "reset"
    assert {one.strategy for one in made.withheld} == {"seamless", "cover"}


@pytest.mark.parametrize("code", sorted(set(Code) - set(REMEDIES)), ids=str)
def test_for_everything_else_nothing_is_proposed(code: Code) -> None:
    seen = facts(held(TERMINATED, 40.0))
    assert propose(Diagnosis(code, Severity.CRITICAL, "x", seen.history.now), seen) == ()


@pytest.mark.parametrize("mode", MODES)
def test_no_two_seconds_give_one_name(mode: Mode) -> None:
    one = look(T, T, mode=mode)
    names = set()
    for seconds in (38.0, 40.0):
        made = decide(held(one, seconds), POLICY).plan
        assert made
        names.add(made.id)
    assert len(names) == 2


# --- a server left switched off


def test_exactly_the_origins_that_are_off_are_cleared_of_that_server() -> None:
    made = plan(PAIRS["switched-off"], "enable")
    assert [str(order) for order in made.orders] == [f"a: dhcp-enable origin-id={origin}" for origin in (1, 1001, 2001)]
    assert made.announced_pause == 0.0


def test_every_clearing_asks_whether_it_is_still_off() -> None:
    for step in plan(PAIRS["switched-off"], "enable").steps[:-1]:
        assert step.order
        origin = str(step.order.arguments["origin-id"])
        assert step.only_if == (Condition(Fact.SWITCHED_OFF_BY, "a", (origin,)),)
        assert step.after == (Condition(Fact.NOT_SWITCHED_OFF_BY, "a", (origin,)),)


def test_a_lost_database_is_not_overruled() -> None:
    one = but(HEALTHY, "a", off=(3000,))
    assert "lost its lease database" in refusal(one, "enable")


def test_a_standby_switched_off_beside_a_primary_at_fault_is_not_what_is_cleared() -> None:
    one = but(but(HEALTHY, "a", off=(1001,)), "b", off=(2001,))
    assert {order.server for order in plan(one, "enable").orders} == {"a"}


def test_a_standby_held_off_is_switched_on_and_need_not_serve() -> None:
    one = plan(but(HEALTHY, "b", off=(2001,)), "enable")
    assert [str(order) for order in one.orders] == ["b: dhcp-enable origin-id=2001"]
    assert not any(condition.fact is Fact.SERVES for step in one.steps for condition in step.after)


def test_the_server_at_fault_is_cleared_and_not_the_other() -> None:
    """A primary in partner-down serves; the secondary at fault is the one switched off with scopes."""
    one = look(HaState.LOAD_BALANCING, HaState.LOAD_BALANCING, mode=Mode.LOAD_BALANCING)
    assert {order.server for order in plan(but(one, "b", off=(1001,)), "enable").orders} == {"b"}


def test_a_standby_at_fault_is_cleared_though_the_primary_is_off_too_and_needs_no_service() -> None:
    """The standby serves all in partner-down; the primary is switched off by the sync of its partner, without scopes."""
    primary = Srv("a", HaState.HOT_STANDBY, scopes=(), off=(2001,))
    made = plan(look(primary, Srv("b", PD, off=(1001,))), "enable")
    assert {order.server for order in made.orders} == {"b"}


def step_of(made: Plan, key: str) -> Step:
    return next(step for step in made.steps if step.key == key)


def test_scopes_are_given_also_when_the_plan_is_given_up() -> None:
    for strategy in ("cover", "reset"):
        step = step_of(plan(TERMINATED, strategy), "primary-scopes")
        assert step.rescue
        assert not step.required
        assert serves_not("a") in step.only_if


class TestHalves:
    TWICE = but(SHARED, "a", scopes=("a", "b"))

    def test_are_left_to_the_partner_that_answers_them(self) -> None:
        (step,) = plan(self.TWICE, "halves").steps
        assert step.order == Order("a", Command.HA_SCOPES, {"scopes": ["a"]})
        assert {state("a", HaState.LOAD_BALANCING), answers("b", "b")} == set(step.before), (
            "its clients would be nobody's"
        )
        assert step.after == (serves_for("a", "a"),)
        made = decide(held(self.TWICE, 40.0), POLICY)
        assert (made.act, made.plan and made.plan.strategy) == (True, "halves")

    def test_are_left_by_each_server_that_has_both(self) -> None:
        made = plan(but(self.TWICE, "b", scopes=("a", "b")), "halves")
        assert [s.order and s.order.arguments for s in made.steps] == [{"scopes": ["a"]}, {"scopes": ["b"]}]

    def test_say_that_the_servers_hear_each_other(self) -> None:
        found = diagnose(facts(held(self.TWICE, 40.0)))[0]
        assert (found.code, found.severity) == (Code.SPLIT_SERVING, Severity.WARNING)
        assert "though they hear each other" in found.sentence

    @pytest.mark.parametrize(
        "one",
        [
            but(TWICE, "b", off=(1,)),  # What it has both for: its partner answers nobody.
            look(PD, PD, mode=Mode.LOAD_BALANCING),  # A true split, of which neither server is told anything.
            look(PD, PD),
        ],
        ids=["partner-off", "split", "split-hot-standby"],
    )
    def test_are_not_touched_otherwise(self, one: Look) -> None:
        assert not [p for p in proposals(one) if isinstance(p, Plan) and p.strategy == "halves"]

    def test_stay_where_ha_scopes_is_not_accepted(self) -> None:
        assert "ha-scopes" in refusal(but(self.TWICE, "a", commands=ALL_COMMANDS - {"ha-scopes"}), "halves")
