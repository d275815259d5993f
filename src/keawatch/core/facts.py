"""
Puts a pair before the rules: the newest snapshot with the primary first, its timers, and what is worth quoting of it.

Nothing here judges; ``diagnosis`` and ``causes`` do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from keawatch.core.model import (
    KEEP_FOR,
    HaConfig,
    HaState,
    History,
    Mode,
    NoAnswer,
    Observation,
    Role,
    Silence,
    Snapshot,
)
from keawatch.core.policy import Policy

BLINK = 15.0
"""Seconds of silence between two looks at a server in which it can't have left its state and come back unseen."""


@dataclass(frozen=True, slots=True)
class Facts:
    """A pair as the rules see it: *a* is the primary (or the one named first), *b* the standby or secondary."""

    history: History
    policy: Policy
    a: Observation
    b: Observation

    @property
    def snapshot(self) -> Snapshot:
        """Return the newest snapshot."""
        return self.history.newest

    @property
    def ha(self) -> HaConfig | None:
        """Return the HA configuration of whichever server tells it, the primary's first."""
        return self.a.facts.ha or self.b.facts.ha

    @property
    def h(self) -> float:
        """Return heartbeat-delay in seconds; Kea's default where no configuration can be read."""
        return self.ha.heartbeat_delay if self.ha else 10.0

    @property
    def max_response_delay(self) -> float:
        """Return max-response-delay in seconds."""
        return self.ha.max_response_delay if self.ha else 60.0

    @property
    def sync_timeout(self) -> float:
        """Return sync-timeout in seconds."""
        return self.ha.sync_timeout if self.ha else 60.0

    @property
    def mode(self) -> Mode:
        """Return the pair's mode."""
        for observation in (self.a, self.b):
            if observation.status and observation.status.ha:
                return observation.status.ha.mode
        return self.ha.mode if self.ha else Mode.HOT_STANDBY

    @property
    def normal(self) -> HaState:
        """Return the state in which both servers are when the pair is at work."""
        return HaState.LOAD_BALANCING if self.mode is Mode.LOAD_BALANCING else HaState.HOT_STANDBY

    @property
    def all_scopes(self) -> list[str]:
        """Return every scope there is: those of the servers that answer clients when all is well."""
        return [self.a.server] if self.mode is Mode.HOT_STANDBY else [self.a.server, self.b.server]

    @property
    def nobody_serves(self) -> bool:
        """Return whether no server that answers us is known to answer clients; one without the HA hook answers all of them."""
        return not any(o.serves or _alone(o) for o in (self.a, self.b))

    @property
    def states(self) -> tuple[HaState | None, HaState | None]:
        """Return both states by the servers' own words, primary first."""
        return self.a.state, self.b.state

    @property
    def skew(self) -> float | None:
        """Return standby minus primary's clock in seconds, as we measured it."""
        skew = self.snapshot.clock_skew
        return skew if skew is None or self.snapshot.second is self.b else -skew

    @property
    def someone_silent(self) -> bool:
        """Return whether at least one server did not answer."""
        return not self.snapshot.both_answered

    def ways(self) -> tuple[tuple[Observation, Observation], tuple[Observation, Observation]]:
        """Return (server, partner) twice, the primary in front first."""
        return (self.a, self.b), (self.b, self.a)

    def held(self, condition: Callable[[Snapshot], bool]) -> float:
        """Return how long *condition* has held, in seconds; -1.0 if it does not."""
        return self.history.held_for(condition, gap=max(60.0, 5 * self.policy.interval))

    def remembered(self, patience: float) -> float:
        """Return *patience* in seconds, or as much as can be seen to have ``held`` where it is longer than snapshots are kept."""
        return min(patience, KEEP_FOR - 2 * self.policy.interval)

    def steady_since(self, server: Observation) -> datetime:
        """Return since when *server* is in the state it is in now, lost polls aside: none of them hides a change of state."""
        since = self.history.now
        spells = self.history.spells_of(server.server)
        for spell in reversed(spells):
            if spell.word == spells[-1].word:
                since = spell.since
            elif spell.word not in set(NoAnswer) or (since - spell.since).total_seconds() > BLINK:
                break
        return since

    def in_state(self, server: Observation) -> float:
        """Return for how long *server* has said what it says now, in seconds, as far as we have watched."""
        return self.history.state_for(server.server)


def _alone(observation: Observation) -> bool:
    return observation.status is not None and observation.status.ha is None and not observation.status.switched_off


def role_of(observation: Observation, partner: Observation) -> Role | None:
    """Return a server's role by its own word, its configuration, or what its partner knows of it."""
    if observation.status and observation.status.ha:
        return observation.status.ha.role
    configs = [config for config in (observation.facts.ha, partner.facts.ha) if config]
    for peer in (peer for config in configs for peer in config.peers):
        if peer.name == observation.server:
            return peer.role
    return partner.partner.role if partner.partner else None


def facts_of(history: History, policy: Policy) -> Facts:
    """Return the newest snapshot with the primary first; by name order where nobody tells the roles."""
    first, second = history.newest
    if role_of(second, first) is Role.PRIMARY and role_of(first, second) is not Role.PRIMARY:
        first, second = second, first
    return Facts(history, policy, first, second)


def says(observation: Observation) -> str:
    """Return a server's own word as evidence."""
    if isinstance(observation.answer, Silence):
        detail = f" ({observation.answer.detail})" if observation.answer.detail else ""
        return f"{observation.server} gives no answer: {observation.word}{detail}"
    scopes = ",".join(observation.scopes) or "none"
    by = observation.origins
    off = f", DHCP switched off by origin {', '.join(by)}" if by else ""
    return f"{observation.server} says {observation.word}, scopes {scopes}{off}"


def sees(observation: Observation) -> str | None:
    """Return what a server believes of its partner, as evidence with an age."""
    view = observation.partner
    if view is None:
        return None
    return (
        f"{observation.server} last saw its partner as {view.state or 'never contacted'}, {view.age:.0f} s ago"
        f"{', communication interrupted' if view.communication_interrupted else ''}"
    )


def evidence(facts: Facts, *more: str | None) -> tuple[str, ...]:
    """Return what a finding is built on: *more* first, then each server's own word and what it believes of the other."""
    lines = (*more, says(facts.a), says(facts.b), sees(facts.a), sees(facts.b))
    return tuple(line for line in lines if line)


def skew_line(facts: Facts) -> str | None:
    """Return the measured clock skew as evidence; None where it is not known."""
    if facts.skew is None:
        return None
    return f"the clocks differ by {abs(facts.skew):.0f} s (our own reading of both servers' ha-heartbeat)"


def subnets_apart(facts: Facts) -> str | None:
    """
    Return how the two running configurations' subnets differ, or None if they agree or can't both be read.

    A lease update for a subnet id or prefix that the receiver does not know is refused with result 4
    (lease_cmds.cc, lease4UpdateHandler): the lasting cause of rejected updates.
    """
    mine, theirs = facts.a.facts.subnets, facts.b.facts.subnets
    if mine is None or theirs is None or dict(mine) == dict(theirs):
        return None
    return f"{facts.a.server} has {_subnets(mine)}; {facts.b.server} has {_subnets(theirs)}"


def _subnets(subnets: object) -> str:
    items = sorted(dict(subnets).items()) if subnets else []  # type: ignore[call-overload]
    return ", ".join(f"{prefix} (id {number})" for number, prefix in items) or "no subnets"


def sync_seconds(facts: Facts) -> float:
    """
    Return how long one sync of this pair is expected to take, in seconds; half a second where the lease count is unknown.

    By the rate at which the pair was last seen to sync, else by ``policy.sync_rate``.
    """
    leases = _most_leases(facts)
    return max(0.5, leases / (_seen_rate(facts, leases) or facts.policy.sync_rate))


READ_RATE = 40_000.0
"""Leases a second that Kea reads from its lease file, which it does anew with each configuration: 38,000 to 80,000 were seen."""


def reading_seconds(facts: Facts) -> float:
    """Return how long either server is expected to be silent while it takes a new configuration, in seconds."""
    return _most_leases(facts) / READ_RATE


def configured_within(facts: Facts) -> float:
    """Return how long to wait for a server that was given a configuration, in seconds: four times what is expected, and some."""
    return round(15.0 + 4 * reading_seconds(facts), 1)


_ENOUGH = 5000
"""Leases from which the length of a sync tells a rate and not what it takes to begin and end one."""


def _most_leases(facts: Facts) -> int:
    return max((o.facts.leases for o in (facts.a, facts.b) if o.facts.leases is not None), default=0)


def _seen_rate(facts: Facts, leases: int) -> float | None:
    """Return the leases a second of the newest sync that was seen from its beginning to its end; None if there was none."""
    if leases < _ENOUGH:
        return None
    for observation in (facts.b, facts.a):
        spells = facts.history.spells_of(observation.server)
        for spell, after in zip(reversed(spells[:-1]), reversed(spells[1:]), strict=True):
            # Counted to the first look at what came after it, a sync seems longer than it was, never shorter.
            seconds = (after.since - spell.since).total_seconds()
            if spell.word == HaState.SYNCING and after.word == HaState.READY and seconds > 0.0:
                return leases / seconds
    return None
