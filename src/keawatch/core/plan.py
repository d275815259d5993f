"""
Says what is to be done, as data: a plan is a list of steps that can be printed, journaled, carried out, finished or undone.

Nothing here sends anything; ``daemon/performer.py`` does. Conditions are names in a table, so that a journal can hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from keawatch.core.model import HaState, Observation, Silence, Snapshot

LONGEST_QUIET = 300
"""Most seconds for which a plan switches a server's DHCP off."""


class Command(StrEnum):
    """
    Every command keawatch may send that changes a server, and those that go with them.

    ``ha-maintenance-notify`` and ``ha-sync-complete-notify`` are Kea's own between partners: not here, so unsendable.
    """

    CONFIG_RELOAD = "config-reload"
    CONFIG_SET = "config-set"
    CONFIG_TEST = "config-test"
    DHCP_DISABLE = "dhcp-disable"
    DHCP_ENABLE = "dhcp-enable"
    HA_CONTINUE = "ha-continue"
    HA_MAINTENANCE_CANCEL = "ha-maintenance-cancel"
    HA_MAINTENANCE_START = "ha-maintenance-start"
    HA_RESET = "ha-reset"
    HA_SCOPES = "ha-scopes"
    HA_SYNC = "ha-sync"
    LEASES_RECLAIM = "leases-reclaim"


class Work(StrEnum):
    """What keawatch does itself, with many commands and not with one."""

    CATCH_UP = "catch-up"
    """Reconcile in one pass, while only one of them serves: what is leased meanwhile is left to the next one."""
    FENCE = "fence"
    """Run the operator's own command that makes sure that a server (``Step.about``) is off; exit status 0 is the only yes."""
    RECONCILE = "reconcile"
    """Compare the two lease databases, back up what is about to be changed, and make them alike (``leases``)."""
    REFILL = "refill"
    """The same between the primary and a backup server, of which only the latter is edited."""


class ConfigVariant(StrEnum):
    """Which running configuration a ``config-set`` or ``config-test`` carries; the text itself never enters a plan or the journal."""

    RECORDED = "recorded"
    """As it ran before the plan began."""
    REJOIN = "rejoin"
    """As it ran before, without Kea's own sync: what it lacks is written to it by lease commands."""
    ASIDE = "aside"
    """The same, with the HA endpoint of this server on the loopback address: for Kea before 2.6, which can't be estranged."""
    ESTRANGED = "estranged"
    """The same, with its partner under a name that it does not go by, so that what its partner orders is refused at once."""
    CLOSED = "closed"
    """The same, without the lease commands either: its partner can't fetch its leases."""


class Fact(StrEnum):
    """A thing that can be read of a server and compared."""

    STATE = "state"
    """Its HA state is one of the values."""
    NOT_STATE = "not-state"
    """It answers, and its HA state is none of the values."""
    SERVES = "serves"
    """State, scopes and dhcp-state agree that it answers clients."""
    SERVES_NOT = "serves-not"
    """It answers us, and no client."""
    SERVES_FOR = "serves-for"
    """It answers the clients of exactly these scopes."""
    ANSWERS = "answers"
    """It answers the clients of these scopes, and it may be others' as well."""
    HEARD_PARTNER = "heard-partner"
    """It has had a good heartbeat from its partner since it was last given an order."""
    HEARS_PARTNER = "hears-partner"
    """Its last good heartbeat is no older than the value, in seconds, and not of a time to come."""
    CLOCKS_AGREE = "clocks-agree"
    """The pair's clocks differ by no more than the value, in seconds."""
    SWITCHED_OFF_BY = "switched-off-by"
    """Exactly this origin is among those that have switched its DHCP off."""
    NOT_SWITCHED_OFF_BY = "not-switched-off-by"
    SILENT = "silent"
    """It gives no answer, whatever that means."""
    DEAD = "dead"
    """Its own host says that its Kea is gone: proof, where a silence is none."""
    HEARS_NOT = "hears-not"
    """It answers, and its own heartbeats to its partner fail."""
    IN_TOUCH = "in-touch"
    """It does not say that it has lost its partner: what it is asked for gets through, as far as it knows."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that must hold of a server at a moment."""

    fact: Fact
    server: str
    values: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the condition as a clause."""
        between = " and " if self.fact in {Fact.SERVES_FOR, Fact.ANSWERS} else " or "
        return _CLAUSES[self.fact].format(server=self.server, values=between.join(self.values))


_CLAUSES: Mapping[Fact, str] = {
    Fact.STATE: "{server} is {values}",
    Fact.NOT_STATE: "{server} is not {values}",
    Fact.SERVES: "{server} serves",
    Fact.SERVES_NOT: "{server} does not serve",
    Fact.SERVES_FOR: "{server} serves the clients of {values}",
    Fact.ANSWERS: "{server} serves the clients of {values} at least",
    Fact.HEARD_PARTNER: "{server} has heard its partner again",
    Fact.HEARS_PARTNER: "{server} has heard its partner within {values} s",
    Fact.CLOCKS_AGREE: "the clocks differ by no more than {values} s",
    Fact.SWITCHED_OFF_BY: "{server} is switched off by origin {values}",
    Fact.NOT_SWITCHED_OFF_BY: "{server} is not switched off by origin {values}",
    Fact.SILENT: "{server} gives no answer",
    Fact.DEAD: "{server} is proven dead",
    Fact.HEARS_NOT: "{server} does not hear its partner",
    Fact.IN_TOUCH: "{server} hears its partner",
}


_OF_HEARING = frozenset({Fact.HEARD_PARTNER, Fact.HEARS_PARTNER, Fact.HEARS_NOT, Fact.IN_TOUCH})


def state(server: str, *states: HaState) -> Condition:
    """Return the condition that *server* is in one of *states*."""
    return Condition(Fact.STATE, server, tuple(states))


def not_state(server: str, *states: HaState) -> Condition:
    """Return the condition that *server* answers and is in none of *states*."""
    return Condition(Fact.NOT_STATE, server, tuple(states))


def serves(server: str) -> Condition:
    """Return the condition that *server* answers clients."""
    return Condition(Fact.SERVES, server)


def serves_not(server: str) -> Condition:
    """Return the condition that *server* answers us and no client."""
    return Condition(Fact.SERVES_NOT, server)


def serves_for(server: str, *scopes: str) -> Condition:
    """Return the condition that *server* answers the clients of exactly these scopes."""
    return Condition(Fact.SERVES_FOR, server, tuple(sorted(scopes)))


def answers(server: str, *scopes: str) -> Condition:
    """Return the condition that *server* answers the clients of these scopes, whosever else it answers."""
    return Condition(Fact.ANSWERS, server, tuple(sorted(scopes)))


def in_touch(server: str) -> Condition:
    """Return the condition that *server* has not lost its partner, as far as it says."""
    return Condition(Fact.IN_TOUCH, server)


def holds(condition: Condition, snapshot: Snapshot, baseline: Snapshot) -> bool:
    """Return whether *condition* holds in *snapshot*; *baseline* is how it was before the last order."""
    return _CHECKS[condition.fact](condition, snapshot, baseline)


def unmet(condition: Condition, snapshot: Snapshot, baseline: Snapshot) -> str | None:
    """Return why *condition* does not hold in *snapshot*, or None if it holds; *baseline* is how it was before the last order."""
    if holds(condition, snapshot, baseline):
        return None
    seen = snapshot.of(condition.server)
    told = _hearing(seen) if condition.fact in _OF_HEARING else f"{seen.server} is {seen.word}, {_service(seen)}"
    return f"wanted: {condition}; seen: {told}"


def _hearing(seen: Observation) -> str:
    view = seen.partner
    if view is None:
        return f"{seen.server} is {seen.word}"
    heard = f"last heard its partner {view.age:.0f} s ago" if view.in_touch else "has not heard its partner"
    return f"{seen.server} {heard}{' and calls it unavailable' if hears_not(seen) and view.in_touch else ''}"


def _service(seen: Observation) -> str:
    if seen.status is None:
        return "service unknown"
    scopes = ",".join(seen.scopes) or "none"
    switched = "off" if seen.status.switched_off else "on"
    return f"scopes {scopes}, DHCP {switched}"


def _clocks_agree(condition: Condition, snapshot: Snapshot) -> bool:
    skew = snapshot.clock_skew
    return skew is not None and abs(skew) <= float(condition.values[0])


def _heard(seen: Observation, before: Observation) -> bool:
    """
    Return whether the moment of the last good heartbeat has moved.

    Kea counts the age from it in whole seconds and by the wall clock (communication_state.cc, poke): the moment is known to
    a second, and after a clock was set back the age is negative (seen on 2.2, 2.6 and 3.0) and says nothing.
    """
    if seen.partner is None or not seen.partner.in_touch or seen.partner.age < 0:
        return False
    if before.partner is None or not before.partner.in_touch or before.partner.age < 0:
        return True
    moved = (seen.at - before.at).total_seconds() - (seen.partner.age - before.partner.age)
    return moved > 1.2


def _hears(seen: Observation, within: float) -> bool:
    return seen.partner is not None and seen.partner.in_touch and 0.0 <= seen.partner.age <= within


def hears_not(seen: Observation) -> bool:
    """Return whether a server says that it has lost touch with its partner."""
    view = seen.partner
    if view is None:
        return False
    return view.communication_interrupted or view.state is HaState.UNAVAILABLE or not view.in_touch


def _dead(seen: Observation) -> bool:
    return isinstance(seen.answer, Silence) and seen.answer.daemon_dead


_Check = Callable[[Condition, Snapshot, Snapshot], bool]

_CHECKS: Mapping[Fact, _Check] = {
    Fact.STATE: lambda c, s, _: s.of(c.server).state is not None and s.of(c.server).state in c.values,
    Fact.NOT_STATE: lambda c, s, _: s.of(c.server).state is not None and s.of(c.server).state not in c.values,
    Fact.SERVES: lambda c, s, _: s.of(c.server).serves,
    Fact.SERVES_NOT: lambda c, s, _: s.of(c.server).status is not None and not s.of(c.server).serves,
    Fact.SERVES_FOR: lambda c, s, _: s.of(c.server).serves and sorted(s.of(c.server).scopes) == list(c.values),
    Fact.ANSWERS: lambda c, s, _: s.of(c.server).serves and set(c.values) <= set(s.of(c.server).scopes),
    Fact.HEARD_PARTNER: lambda c, s, before: _heard(s.of(c.server), before.of(c.server)),
    Fact.HEARS_PARTNER: lambda c, s, _: _hears(s.of(c.server), float(c.values[0])),
    Fact.CLOCKS_AGREE: lambda c, s, _: _clocks_agree(c, s),
    Fact.SWITCHED_OFF_BY: lambda c, s, _: c.values[0] in s.of(c.server).origins,
    Fact.NOT_SWITCHED_OFF_BY: lambda c, s, _: (
        s.of(c.server).status is not None and c.values[0] not in s.of(c.server).origins
    ),
    Fact.SILENT: lambda c, s, _: s.of(c.server).status is None,
    Fact.DEAD: lambda c, s, _: _dead(s.of(c.server)),
    Fact.HEARS_NOT: lambda c, s, _: hears_not(s.of(c.server)),
    Fact.IN_TOUCH: lambda c, s, _: not hears_not(s.of(c.server)),
}


@dataclass(frozen=True, slots=True)
class Order:
    """One command to one server."""

    server: str
    command: Command
    arguments: Mapping[str, Any] = field(default_factory=dict)
    config: ConfigVariant | None = None
    """For config-set and config-test: which configuration goes with it."""
    kept_by: str | None = None
    """The plan that kept that configuration, where it is not the order's own."""

    def __str__(self) -> str:
        """Return the order as an operator would type it."""
        words = [self.command.value]
        if self.config:
            words.append(f"<{self.config}>")
        words.extend(f"{key}={value}" for key, value in self.arguments.items())
        return f"{self.server}: {' '.join(words)}"


@dataclass(frozen=True, slots=True)
class Step:
    """One command, one piece of work, or one wait, with what must hold before it and after it."""

    key: str
    """Unique in its plan; stands in the journal."""
    title: str
    """What it does, for people."""
    order: Order | None = None
    """None: no command; without *work* either, only wait for what must hold after."""
    only_if: tuple[Condition, ...] = ()
    """Unless all hold, the step is skipped: there is nothing to do."""
    before: tuple[Condition, ...] = ()
    """Unless all hold, the plan is given up: doing it would do harm."""
    put_off_unless: tuple[Condition, ...] = ()
    """Unless all hold, and go on to hold for as long as the work takes, it is put off: that is no failure, and it is begun anew."""
    after: tuple[Condition, ...] = ()
    """What the state must show, whatever the reply said."""
    deadline: float = 5.0
    """Seconds within which *after* must hold."""
    required: bool = True
    """Whether the plan is given up when *after* does not hold in time."""
    compensation: Order | None = None
    """What puts the server back if the plan is given up later."""
    closely: bool = False
    """Whether clients wait until it is seen that *after* holds, so that it is looked for without a rest."""
    pause: float = 0.0
    """Seconds to let pass before the step does anything, cut short when keawatch is told to stop."""
    at_most: float | None = None
    """Seconds the command itself may take; one that took longer gives the plan up. None: as long as any command."""
    may_refuse: bool = False
    """Whether Kea's refusal is an expected reply; else a refused required step gives the plan up."""
    rescue: bool = False
    """Whether the step is also run when the plan is given up, because it can only give service back."""
    rest: bool = False
    """Whether the pair may be left like this after the step: a plan is only interrupted at rest."""
    then: tuple[Order, ...] = ()
    """What is sent to the same server right behind the order, with nothing between: clients get no answer meanwhile."""
    work: Work | None = None
    """What keawatch does itself here; a step has an order or work, never both."""
    backup: str | None = None
    """The backup server that the work is about; None for the pair's own two."""
    about: str | None = None
    """The server that the work is about, where it is about one."""
    again: bool = False
    """Whether a plan that is taken up after a crash begins here at the latest: what the step proves does not last."""
    unfetchable: str | None = None
    """The server of which nobody must be able to fetch leases: its running configuration is read, and else the plan given up."""


CONDITIONS = ("only_if", "before", "put_off_unless", "after")
"""Where a step has conditions, in the order in which they are asked for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An ordered way from a diagnosis to redundant service."""

    id: str
    code: str
    """The diagnosis it answers."""
    strategy: str
    summary: str
    """One sentence for people."""
    steps: tuple[Step, ...]
    announced_pause: float
    """Seconds in which clients are expected to get no answer."""

    @property
    def orders(self) -> tuple[Order, ...]:
        """Return every command it may send, compensations aside."""
        return tuple(order for step in self.steps if step.order for order in (step.order, *step.then))


def stopped_at_once(plan: Plan, snapshot: Snapshot) -> tuple[str, ...]:
    """Return why *plan* would be given up at the first step that has something to do, as things are; empty if it would not."""
    for step in plan.steps:
        if not any(unmet(condition, snapshot, snapshot) for condition in step.only_if):
            return tuple(reason for condition in step.before if (reason := unmet(condition, snapshot, snapshot)))
    return ()
