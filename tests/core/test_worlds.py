"""
Holds every step of every plan against every way in which two servers can stand, by a judgement that knows no plan's conditions.

What a command does to a server, and what it is good for, is said here once more. In no way of standing that a step's conditions
let pass may it do harm or be for nothing, and in none that passes for its end may its effect be missing. And each condition is
needed: without it a way of standing would pass that must not, so that one that goes missing is noticed by what it is there for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product
from typing import Any

import pytest

from keawatch.core.diagnosis import diagnose
from keawatch.core.facts import facts_of
from keawatch.core.model import HaState, Mode, NoAnswer, Snapshot
from keawatch.core.plan import CONDITIONS, Command, Condition, ConfigVariant, Fact, Order, Plan, Step, Work, holds
from keawatch.core.remedies import propose
from tests import plans
from tests.builders import PARTNERS
from tests.core.seen import Look, Srv, look, normal

S = HaState
NORMAL = {S.HOT_STANDBY, S.LOAD_BALANCING}
ASIDE = {S.WAITING, S.READY}
"""Where a standby is that has stepped aside; Kea answers no client in either."""
BACK = {S.WAITING, S.SYNCING, S.READY, *NORMAL}
AWAY = {ConfigVariant.ASIDE, ConfigVariant.ESTRANGED, ConfigVariant.CLOSED}
HEALINGS = {"seamless", "cover", "reset", "prevent"}

# --- every way of standing

_ORIGINS = (1, 1001, 2000, 2001)


def _states(mode: Mode) -> tuple[HaState, ...]:
    alone = (S.PARTNER_DOWN, S.PARTNER_IN_MAINTENANCE, S.IN_MAINTENANCE)
    return (S.TERMINATED, S.WAITING, S.SYNCING, S.READY, normal(mode), S.COMMUNICATION_RECOVERY, *alone)


def _silent(name: str, mode: Mode) -> Iterator[Srv]:
    yield from (Srv(name, NoAnswer.REFUSED, mode, dead=dead) for dead in (False, True))


def _usual(name: str, mode: Mode) -> Iterator[Srv]:
    """Yield every server with the scopes that Kea gives it, or none."""
    for word in _states(mode):
        yield Srv(name, word, mode)
        yield Srv(name, word, mode, scopes=())
    yield from _silent(name, mode)


def _odd(name: str, mode: Mode) -> Iterator[Srv]:
    """Yield these, and those with scopes that they have from somebody else, or that are switched off."""
    yield from _usual(name, mode)
    for word in (S.TERMINATED, normal(mode), S.PARTNER_DOWN):
        yield from (Srv(name, word, mode, scopes=scopes) for scopes in (("a",), ("b",), ("a", "b")))
        yield Srv(name, word, mode, scopes=("a", "b"), off=(1000,))


def _looks(mode: Mode) -> Iterator[Look]:
    yield from (look(a, b, mode=mode) for a, b in product(_odd("a", mode), _odd("b", mode)))
    for gone in (False, True):
        lonely = Srv("b", NoAnswer.REFUSED, mode, dead=gone)
        yield from (look(_alone(a), lonely, mode=mode) for a in _odd("a", mode))
        yield from (look(replace(lonely, name="a"), _alone(b), mode=mode) for b in _odd("b", mode))
    for a, b in product(_usual("a", mode), _usual("b", mode)):
        yield look(a, replace(b, ahead=45.0), mode=mode)
        yield look(_alone(a), b, mode=mode)
        yield look(a, _alone(b), mode=mode)
        yield look(_alone(a), _alone(b), mode=mode)
        yield look(replace(a, heard_ago=100.0), replace(b, heard_ago=100.0), mode=mode)
    for word, partner, origin in product(_states(mode), (S.READY, S.PARTNER_DOWN, S.TERMINATED), (*_ORIGINS, 1000)):
        yield look(Srv("a", word, mode, off=(origin,)), Srv("b", partner, mode), mode=mode)
        yield look(Srv("a", partner, mode), Srv("b", word, mode, off=(origin,)), mode=mode)
    for origin in _ORIGINS:
        yield look(normal(mode), Srv("b", normal(mode), mode, off=(origin,)), mode=mode)


def _alone(one: Srv) -> Srv:
    return replace(one, partner_word=S.UNAVAILABLE)


@dataclass(frozen=True)
class World:
    """One way in which both servers stand."""

    mode: Mode
    seen: Snapshot
    before: Snapshot
    """How they were ten seconds ago; a server that has heard its partner has heard it since."""

    def __str__(self) -> str:
        """Return it in a few words."""
        return "; ".join(
            f"{o.server} is {o.word}, answers {' and '.join(o.scopes) or 'nobody'}, off by {o.origins or 'none'}"
            for o in (self.seen.of("a"), self.seen.of("b"))
        )

    @cached_property
    def _states(self) -> Mapping[str, HaState | None]:
        return {seen.server: seen.state for seen in self.seen}

    @cached_property
    def _served(self) -> frozenset[str]:
        return frozenset(seen.server for seen in self.seen if seen.serves)

    def is_in(self, server: str, *states: HaState) -> bool:
        return self._states[server] in states

    def both_in(self, *states: HaState) -> bool:
        return self.is_in("a", *states) and self.is_in("b", *states)

    def serves(self, server: str) -> bool:
        return server in self._served

    def serves_nobody(self, server: str) -> bool:
        """Return whether it says so; of one that is silent nobody knows."""
        return self.seen.of(server).status is not None and not self.serves(server)

    def answered_by(self, server: str) -> set[str]:
        return set(self.seen.of(server).scopes) if self.serves(server) else set()

    def silent(self, server: str) -> bool:
        return self.seen.of(server).status is None

    def proven_dead(self, server: str) -> bool:
        return self.silent(server) and bool(getattr(self.seen.of(server).answer, "daemon_dead", False))

    def hears_nobody(self, server: str) -> bool:
        view = self.seen.of(server).partner
        return view is not None and view.state is S.UNAVAILABLE

    def has_heard(self, server: str) -> bool:
        """Return whether it has heard its partner a second ago."""
        view = self.seen.of(server).partner
        return view is not None and view.in_touch and view.age < 10.0

    @property
    def at_work(self) -> bool:
        """Return whether both are at work and the right ones serve, so that Kea copies every lease."""
        other = self.serves("b") if self.mode is Mode.LOAD_BALANCING else self.serves_nobody("b")
        return self.serves("a") and other and self.both_in(self.normal)

    @property
    def normal(self) -> HaState:
        return normal(self.mode)


@cache
def worlds(mode: Mode) -> tuple[World, ...]:
    def earlier(one: Look) -> Snapshot:
        # One that has not been heard from for long had been silent for long, ten seconds ago, too.
        a, b = (replace(srv, heard_ago=max(srv.heard_ago - 10.0, 1.0)) for srv in (one.a, one.b))
        return look(a, b, mode=mode).seen(-10.0)

    return tuple(World(mode, one.seen(0.0), earlier(one)) for one in _looks(mode))


Which = int
"""Some of the worlds of a mode, a bit for each."""


def passing(conditions: Iterable[Condition], mode: Mode) -> Which:
    """Return the worlds in which all *conditions* hold."""
    which = (1 << len(worlds(mode))) - 1
    for condition in conditions:
        which &= _holding(condition, mode)
    return which


def where(so: Callable[[World], object], mode: Mode) -> Which:
    """Return the worlds of which that is so."""
    return sum(1 << n for n, world in enumerate(worlds(mode)) if so(world))


@cache
def _holding(condition: Condition, mode: Mode) -> Which:
    return where(lambda world: holds(condition, world.seen, world.before), mode)


def one_of(which: Which, mode: Mode) -> World:
    """Return the first of some worlds."""
    return worlds(mode)[(which & -which).bit_length() - 1]


# --- every step


@dataclass(frozen=True)
class Deed:
    """One step of a plan, and what it is in it."""

    mode: Mode
    strategy: str
    step: Step
    first: bool
    """Whether it is the first in its plan that sends anything."""
    fenced: bool
    """Whether the operator's own command makes sure in this plan that the partner is off."""

    def __str__(self) -> str:
        """Return its name."""
        return f"{self.strategy}/{self.step.key} in {self.mode}"

    @property
    def key(self) -> str:
        return self.step.key

    @property
    def order(self) -> Order:
        assert self.step.order
        return self.step.order

    @property
    def server(self) -> str:
        """Return to whom it is done."""
        if self.step.order:
            return self.step.order.server
        return PARTNERS[self.step.about] if self.step.about else next(c.server for c in self.step.after)

    @property
    def partner(self) -> str:
        return PARTNERS[self.server]

    @cached_property
    def idle(self) -> Which:
        """Return where there is nothing to do."""
        return where(lambda world: idle(world, self), self.mode)

    @cached_property
    def harmful(self) -> Which:
        """Return where it does harm."""
        return where(lambda world: harm(world, self), self.mode)

    @cached_property
    def not_done(self) -> Which:
        """Return where it has not had its effect; nowhere where it has none to wait for."""
        return where(lambda world: not end_of(self)(world), self.mode) if self.step.after else 0

    def without(self, part: str, index: int) -> Deed:
        """Return the step without one of its conditions, judged as it is."""
        kept = tuple(condition for number, condition in enumerate(getattr(self.step, part)) if number != index)
        changed: dict[str, Any] = {part: kept}
        less = replace(self, step=replace(self.step, **changed))
        less.__dict__.update(idle=self.idle, harmful=self.harmful, not_done=self.not_done)
        return less


@cache
def deeds() -> dict[str, list[Deed]]:
    """Return every step of every plan that keawatch can make, by strategy, each that differs once."""
    found: dict[str, dict[str, Deed]] = {}
    for history, policy in plans.situations():
        seen = facts_of(history, policy)
        made = (p for diagnosis in diagnose(seen) for p in propose(diagnosis, seen) if isinstance(p, Plan))
        for plan in made:
            first = next((step.key for step in plan.steps if step.order), "")
            fenced = any(step.work is Work.FENCE for step in plan.steps)
            for step in plan.steps:
                deed = Deed(seen.mode, plan.strategy, step, step.key == first, fenced)
                found.setdefault(plan.strategy, {}).setdefault(repr(deed), deed)
    return {strategy: list(known.values()) for strategy, known in found.items()}


STRATEGIES = (
    *("seamless", "cover", "reset", "prevent", "settle"),
    *("gate", "continue", "enable", "shorten", "halves", "take-over"),
    *("reconcile", "resync", "refill", "refill-sync", "upkeep"),
)
each = pytest.mark.parametrize("strategy", STRATEGIES)


def test_there_are_plans_of_every_kind() -> None:
    assert set(deeds()) == set(STRATEGIES)


# --- when a step is for nothing

Judgement = Callable[[World, Deed], str | None]


def _nothing(_world: World, _deed: Deed) -> None:
    return None


def idle(world: World, deed: Deed) -> str | None:
    """Return why there is nothing to do for the step in *world*, so that it is to be left out; None if there is."""
    by_command = _IDLE.get(deed.order.command, _nothing) if deed.step.order else _nothing
    return _IDLE_BY_KEY.get(deed.key, by_command)(world, deed)


def _unless_in(*states: HaState) -> Judgement:
    def judge(world: World, deed: Deed) -> str | None:
        return None if world.is_in(deed.server, *states) else f"{deed.server} is not in a state to be taken out of"

    return judge


def _no_scopes_to_give(world: World, deed: Deed) -> str | None:
    lone = {S.PARTNER_DOWN} if deed.strategy == "take-over" else {S.PARTNER_DOWN, S.TERMINATED}
    lacks = world.is_in(deed.server, *lone) and world.serves_nobody(deed.server)
    return None if lacks else "it has its scopes, or is not to have any"


def _nothing_is_off(world: World, deed: Deed) -> str | None:
    origin = deed.order.arguments.get("origin-id")
    if origin is None:
        return None  # What the plan itself has switched off is switched on whatever else is so.
    if str(origin) not in world.seen.of(deed.server).origins:
        return "that origin has switched nothing off"
    ready = world.is_in(deed.server, S.PARTNER_DOWN) and world.is_in(deed.partner, S.READY)
    return "its partner has not all its leases yet" if deed.strategy == "shorten" and not ready else None


def _nothing_to_forget(world: World, deed: Deed) -> str | None:
    if deed.strategy in {"resync", "refill-sync"}:
        return None
    return None if world.is_in(deed.server, S.TERMINATED) else "it has nothing to forget"


def _nobody_aside(world: World, _: Deed) -> str | None:
    aside = world.is_in("a", S.PARTNER_DOWN) and world.is_in("b", *ASIDE)
    return None if aside else "the primary is not alone, or the standby not aside"


def _nobody_held(world: World, _: Deed) -> str | None:
    held = world.is_in("b", S.READY) and world.serves_nobody("b")
    return None if held else "nobody is held whose clients it would answer"


def _answers_for_itself_alone(world: World, _: Deed) -> str | None:
    twice = world.answered_by("a") == {"a", "b"} and world.answered_by("b") == {"b"}
    return None if twice else "it answers its own half only, or its partner not its own"


_JOINS = (*NORMAL, S.COMMUNICATION_RECOVERY, S.WAITING, S.SYNCING, S.READY)
"""Where ha-maintenance-start leads to partner-down."""


def _can_not_go_alone(world: World, deed: Deed) -> str | None:
    if deed.strategy in {"seamless", "cover"}:
        return _unless_in(S.WAITING, S.SYNCING, S.READY)(world, deed)
    return _unless_in(*(NORMAL if deed.strategy == "prevent" else _JOINS))(world, deed)


_IDLE: Mapping[Command, Judgement] = {
    Command.HA_RESET: _unless_in(S.TERMINATED),
    Command.HA_CONTINUE: _unless_in(S.READY),
    Command.HA_MAINTENANCE_CANCEL: _unless_in(S.PARTNER_IN_MAINTENANCE),
    Command.HA_MAINTENANCE_START: _can_not_go_alone,
    Command.HA_SCOPES: _no_scopes_to_give,
    Command.HA_SYNC: _nothing_to_forget,
    Command.DHCP_ENABLE: _nothing_is_off,
}

_IDLE_BY_KEY: Mapping[str, Judgement] = {
    "primary-for-both": _nothing,
    "primary-for-both-held": _nobody_held,
    "primary-for-both-again": lambda w, _: None if w.serves_nobody("b") else "the partner answers its clients itself",
    "primary-own-half": _answers_for_itself_alone,
    "own-half-a": _nothing,
    "own-half-b": _nothing,
    "standby-alike": _nobody_aside,
    "standby-open": _nobody_aside,
    "standby-turn": _nobody_aside,
    "survivor-anew": _unless_in(S.TERMINATED),
    "gate-alike": lambda w, _: None if w.is_in("b", S.READY) else "nobody is held",
    "partner-off": _unless_in(*_JOINS),
    "standby-hears": _unless_in(S.TERMINATED),
    "standby-reload": _unless_in(S.TERMINATED),
    "primary-hears": _unless_in(S.TERMINATED),
    "primary-hears-again": _unless_in(S.TERMINATED),
    "standby-beats": lambda w, _: (
        None if w.is_in("a", S.TERMINATED) and w.is_in("b", S.WAITING) else "no reset is to come that b would miss"
    ),
}


# --- what harm a step does


def harm(world: World, deed: Deed) -> str | None:
    """Return what harm the step does in *world*; None if none."""
    if deed.first and deed.strategy in HEALINGS and abs(world.seen.clock_skew or 0.0) > 30.0:
        return "clocks that differ so much terminate the pair at once again"
    if deed.step.order:
        return _HARM.get(deed.step.order.command, _nothing)(world, deed)
    if deed.step.work is Work.FENCE:
        return "nobody knows that it does not serve" if not world.silent(deed.partner) else _may_be_heard(world, deed)
    return _rests_on_nothing(world, deed) if deed.step.work else None


def _may_be_heard(world: World, deed: Deed) -> str | None:
    return None if world.hears_nobody(deed.server) else "it may still hear its partner"


def _partner_may_live(world: World, deed: Deed) -> str | None:
    off = world.silent(deed.partner) if deed.fenced else world.proven_dead(deed.partner)
    return None if off else "nothing proves that its partner is dead"


def _by_reset(world: World, deed: Deed) -> str | None:
    if deed.strategy == "take-over":
        dark = None if world.serves_nobody(deed.server) else "its clients lose it"
        return _partner_may_live(world, deed) or _may_be_heard(world, deed) or dark
    if deed.server == "b":
        return None if world.serves_nobody("b") else "the standby's clients lose it"
    waits = {S.WAITING} if deed.strategy == "reset" else ASIDE
    return None if world.is_in("b", *waits) else "the primary would wait for nobody, and nobody serves"


def _by_maintenance(world: World, deed: Deed) -> str | None:
    if deed.strategy == "take-over":
        return _partner_may_live(world, deed) or _may_be_heard(world, deed)
    if world.is_in("a", S.WAITING, S.SYNCING, S.READY):
        return None  # The reset right before it had its own conditions, and nobody serves until this is done.
    return None if world.is_in("b", *ASIDE) else "the standby is in reach, and would be put to rest"


def _by_scopes(world: World, deed: Deed) -> str | None:
    wanted, answered = set(deed.order.arguments["scopes"]), world.answered_by(deed.server)
    if not answered - wanted <= world.answered_by(deed.partner):
        return "clients lose the server that answers them"
    if deed.key == "primary-for-both":
        return _by_leaving(world, deed)
    halves = deed.key.startswith("own-half")
    if halves and not world.is_in(deed.server, S.LOAD_BALANCING):
        return "a server that is alone answers all clients"
    return None


def _by_sync(world: World, deed: Deed) -> str | None:
    if deed.strategy in {"resync", "refill-sync"}:
        return None if world.at_work else "who is fetched from is switched off while nobody copies or serves"
    if deed.strategy == "take-over":
        dark = None if world.serves_nobody(deed.server) else "its clients wait for it"
        return _partner_may_live(world, deed) or dark
    return None if world.is_in("b", *ASIDE) else "the standby's leases can be fetched, and both are off meanwhile"


def _by_configuring(world: World, deed: Deed) -> str | None:
    return _CONFIGURING.get(deed.key, _by_leaving)(world, deed)


def _unless_primary_serves(world: World, _: Deed) -> str | None:
    return None if world.serves("a") else "nobody takes over for a primary that does not serve"


def _by_leaving(world: World, deed: Deed) -> str | None:
    """Return what harm it does that the standby goes out of reach, or is made ready for it."""
    if not world.serves("a"):
        return "nobody serves then"
    if deed.strategy == "prevent":
        both = world.both_in(*NORMAL) and world.serves_nobody("b")
        return None if both else "the pair is not together, or the standby serves"
    gone = world.is_in("a", S.TERMINATED) and world.is_in("b", S.TERMINATED, S.WAITING)
    return None if gone else "the pair is not broken in that way"


_CONFIGURING: Mapping[str, Judgement] = {
    "standby-back": _nothing,  # One that is aside is put back whatever else is so.
    "standby-rejoin": _unless_primary_serves,
    "standby-open": _unless_primary_serves,
    "standby-settle": lambda w, _: None if w.at_work else "the pair is not together",
    "standby-reload": lambda w, _: None if w.serves_nobody("b") else "its clients lose it",
    "survivor-anew": lambda w, d: (
        _partner_may_live(w, d) or (None if w.serves_nobody(d.server) else "its clients lose it")
    ),
}


def _by_enabling(world: World, deed: Deed) -> str | None:
    if "origin-id" not in deed.order.arguments:
        return None
    right = {*NORMAL, S.PARTNER_DOWN, S.PARTNER_IN_MAINTENANCE, S.TERMINATED}
    return None if world.is_in(deed.server, *right) else "it is switched off with good reason in that state"


_HARM: Mapping[Command, Judgement] = {
    Command.HA_RESET: _by_reset,
    Command.HA_MAINTENANCE_START: _by_maintenance,
    Command.HA_SCOPES: _by_scopes,
    Command.HA_SYNC: _by_sync,
    Command.CONFIG_SET: _by_configuring,
    Command.CONFIG_TEST: _by_leaving,
    Command.CONFIG_RELOAD: _by_configuring,
    Command.DHCP_DISABLE: _unless_primary_serves,
    Command.DHCP_ENABLE: _by_enabling,
    Command.LEASES_RECLAIM: lambda w, _: None if w.at_work else "the other keeps what this one forgets",
}


def _rests_on_nothing(world: World, deed: Deed) -> str | None:
    right = _GROUNDS[deed.key](world) if deed.key in _GROUNDS else world.at_work
    if deed.strategy == "gate":
        copies = world.is_in(deed.partner, world.normal) and world.serves(deed.partner)
        right = copies and world.is_in(deed.server, S.READY)
    return None if right else "leases are compared that nobody copies, or made those of a server that does not serve"


_GROUNDS: Mapping[str, Callable[[World], bool]] = {
    "alike-again": lambda w: w.serves("a"),
    "halves-alike": lambda w: w.serves("a") and w.is_in("a", S.TERMINATED) and w.is_in("b", S.TERMINATED, S.WAITING),
    "standby-alike": lambda w: w.serves("a") and w.is_in("a", S.PARTNER_DOWN) and w.is_in("b", *ASIDE),
    "alike-quickly": lambda w: w.serves("a") and w.is_in("a", w.normal) and w.is_in("b", S.READY, *NORMAL),
    "gate-alike": lambda w: w.serves("a") and w.is_in("b", S.READY),
}


# --- what a step must have come to

End = Callable[[World], bool]


def end_of(deed: Deed) -> End:
    """Return whether the step has had its effect in a world."""
    if deed.step.work is Work.FENCE:
        return lambda w: w.silent(deed.partner)
    if deed.step.work:
        return (lambda w: w.is_in(deed.server, S.READY)) if deed.strategy == "gate" else (lambda w: w.at_work)
    return _EFFECTS[deed.step.order.command](deed) if deed.step.order else _SEEN[deed.key](deed)


def _reset_done(deed: Deed) -> End:
    if any(order.command is Command.HA_MAINTENANCE_START for order in deed.step.then):
        return _alone_and_serving(deed)
    return lambda w: w.is_in(deed.server, *BACK, S.PARTNER_DOWN, S.COMMUNICATION_RECOVERY)


def _alone_and_serving(deed: Deed) -> End:
    return lambda w: w.is_in(deed.server, S.PARTNER_DOWN) and w.serves(deed.server)


def _maintained(deed: Deed) -> End:
    if deed.strategy == "prevent":  # It served until then, so that clients notice if it does not.
        return _alone_and_serving(deed)
    return lambda w: w.is_in(deed.server, S.PARTNER_DOWN)


def _synced(deed: Deed) -> End:
    if deed.strategy == "take-over":
        return lambda w: w.hears_nobody(deed.server)
    if deed.strategy == "resync":
        return lambda w: w.at_work
    if deed.strategy == "refill-sync":
        return lambda w: w.at_work and "2000" not in w.seen.of(deed.order.arguments["server-name"]).origins
    return lambda w: w.is_in("a", S.TERMINATED) and w.serves("a")


def _tested(deed: Deed) -> End:
    if deed.strategy == "prevent":
        return lambda w: w.serves("a") and w.serves_nobody("b") and w.both_in(*NORMAL)
    return lambda w: w.is_in("b", S.TERMINATED, S.WAITING)


def _configured(deed: Deed) -> End:
    if deed.order.config in AWAY:
        return lambda w: w.is_in("b", *ASIDE)
    return lambda w: w.is_in(deed.server, *BACK, S.PARTNER_DOWN, S.COMMUNICATION_RECOVERY)


def _scoped(deed: Deed) -> End:
    if Condition(Fact.SERVES_NOT, deed.server) in deed.step.only_if:
        return lambda w: w.serves(deed.server)
    return lambda w: w.answered_by(deed.server) == set(deed.order.arguments["scopes"])


def _enabled(deed: Deed) -> End:
    origin = str(deed.order.arguments.get("origin-id", 1))
    return lambda w: not w.silent(deed.server) and origin not in w.seen.of(deed.server).origins


def _not_in(state: HaState) -> Callable[[Deed], End]:
    return lambda deed: lambda w: not w.silent(deed.server) and not w.is_in(deed.server, state)


_EFFECTS: Mapping[Command, Callable[[Deed], End]] = {
    Command.HA_RESET: _reset_done,
    Command.HA_MAINTENANCE_START: _maintained,
    Command.HA_MAINTENANCE_CANCEL: _not_in(S.PARTNER_IN_MAINTENANCE),
    Command.HA_SCOPES: _scoped,
    Command.HA_SYNC: _synced,
    Command.HA_CONTINUE: _not_in(S.READY),
    Command.CONFIG_SET: _configured,
    Command.CONFIG_TEST: _tested,
    Command.CONFIG_RELOAD: _configured,
    Command.DHCP_DISABLE: lambda deed: lambda w: w.serves_nobody(deed.server),
    Command.DHCP_ENABLE: _enabled,
    Command.LEASES_RECLAIM: lambda _: lambda w: w.at_work,
}


def _together(deed: Deed) -> End:
    if deed.strategy == "settle" or deed.mode is Mode.LOAD_BALANCING:
        return lambda w: w.at_work
    # A standby that is switched off, or that answers as well, is no reason to wait on: it is told of anew.
    return lambda w: w.both_in(w.normal) and w.serves("a")


def _heard(deed: Deed) -> End:
    return lambda w: w.has_heard(deed.server)


_SEEN: Mapping[str, Callable[[Deed], End]] = {
    "primary-serves": _alone_and_serving,
    "survivor-serves": _alone_and_serving,
    "serves-a": lambda _: lambda w: w.serves("a"),
    "serves-b": lambda _: lambda w: w.serves("b"),
    "together": _together,
    "primary-joined": lambda _: lambda w: w.is_in("a", w.normal),
    "primary-left": lambda _: lambda w: w.is_in("a", *BACK, S.PARTNER_DOWN),
    "standby-held": lambda _: lambda w: w.is_in("a", *NORMAL) and w.serves("a") and w.is_in("b", S.READY, *NORMAL),
    "standby-reload": lambda _: lambda w: w.is_in("b", *BACK),
    **dict.fromkeys(
        ("standby-hears", "standby-beats", "primary-hears", "primary-hears-again", "link-works"),
        _heard,
    ),
}


# --- what is asked of every step


def _mends(deed: Deed) -> bool:
    """Return whether the step makes the leases of a pair alike in which only the primary serves."""
    return (
        deed.step.work is Work.RECONCILE and deed.strategy in {"reconcile", "upkeep"} and deed.mode is Mode.HOT_STANDBY
    )


def _link_is_cut(world: World) -> bool:
    return world.hears_nobody("a") or world.hears_nobody("b")


QUESTIONS: Mapping[str, Callable[[Deed], Which]] = {
    "it is done where there is nothing to do": lambda d: passing(d.step.only_if, d.mode) & d.idle,
    "it is done where it does harm": lambda d: passing((*d.step.only_if, *d.step.before), d.mode) & d.harmful,
    "the work goes on when its ground is gone": lambda d: (
        passing(d.step.before, d.mode) & d.harmful if d.step.work else 0
    ),
    "a plan that is given up does it where it does harm": lambda d: (
        passing(d.step.only_if, d.mode) & (d.idle | d.harmful) if d.step.rescue else 0
    ),
    "leases are made alike while those of a cut link are not copied": lambda d: (
        passing((*d.step.before, *d.step.put_off_unless), d.mode) & where(_link_is_cut, d.mode) if _mends(d) else 0
    ),
    "it passes for done where it is not": lambda d: passing(d.step.after, d.mode) & d.not_done,
}
"""Where each is so of a step; it is to be so nowhere."""


@pytest.mark.parametrize("question", QUESTIONS)
@each
def test_of_no_step(strategy: str, question: str) -> None:
    for deed in deeds()[strategy]:
        which = QUESTIONS[question](deed)
        assert not which, f"{deed}: {question}: {one_of(which, deed.mode)}"


@each
def test_each_step_says_what_it_must_have_come_to(strategy: str) -> None:
    for deed in deeds()[strategy]:
        # Work tells itself what it has come to.
        assert deed.step.after or deed.step.work or deed.step.pause, deed


@each
def test_each_condition_is_there_for_something(strategy: str) -> None:
    for deed in deeds()[strategy]:
        for part in CONDITIONS:
            for index, condition in enumerate(getattr(deed.step, part)):
                less = deed.without(part, index)
                assert any(asked(less) for asked in QUESTIONS.values()), (
                    f"{deed}: nothing is lost without «{condition}»"
                )


# --- what a plan that is given up still does


@each
def test_a_plan_that_is_given_up_still_gives_service_and_configurations_back(strategy: str) -> None:
    for deed in deeds()[strategy]:
        step, order = deed.step, deed.step.order
        if order is None:
            continue
        lacks = Condition(Fact.SERVES_NOT, order.server) in step.only_if
        if order.command is Command.HA_MAINTENANCE_CANCEL or (order.command is Command.HA_SCOPES and lacks):
            assert step.rescue, f"{deed} can only give service"
        if deed.key == "primary-own-half":
            assert step.rescue, "it would answer its partner's clients for good"
        if deed.key == "standby-aside":
            assert step.compensation == Order("b", Command.CONFIG_SET, config=ConfigVariant.RECORDED)
        if order.command is Command.DHCP_DISABLE:
            assert step.compensation == Order("b", Command.DHCP_ENABLE)


@each
def test_leases_can_be_fetched_by_nobody_where_a_sync_is_asked_for_only_to_forget(strategy: str) -> None:
    for deed in deeds()[strategy]:
        forgets = deed.step.order and deed.step.order.command is Command.HA_SYNC and deed.key == "primary-forget"
        assert deed.step.unfetchable == ("b" if forgets else None)
