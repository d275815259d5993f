"""
Decides: what is wrong, what is to be done about it now, and what holds that back.

``decide(history, policy)`` is the heart and is pure: the same history gives the same decision, in the daemon, in a test
and in a replay. A guard can hold a plan back, never add one, and gives its reason in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from keawatch.core.codes import Code, Diagnosis, Severity
from keawatch.core.diagnosis import diagnose
from keawatch.core.facts import Facts, facts_of, subnets_apart
from keawatch.core.gate import STRATEGIES as GATE_STRATEGIES
from keawatch.core.lease_remedies import copies
from keawatch.core.model import NORMAL_STATES, Attempt, History, Mode, Since, Snapshot
from keawatch.core.plan import Command, Plan, holds, stopped_at_once
from keawatch.core.policy import Autonomy, Policy, Strategy
from keawatch.core.proposals import NoPlan
from keawatch.core.refill import STRATEGIES as REFILLS
from keawatch.core.refill import comparison_for
from keawatch.core.remedies import propose
from keawatch.core.takeover import STRATEGY as TAKE_OVER


class Guard(StrEnum):
    """What can hold a plan back, by its stable name."""

    AUTONOMY = "autonomy"
    PAUSED = "paused"
    UNDER_WAY = "under-way"
    BLIND = "blind"
    IDENTITY = "identity"
    NOT_CONFIRMED = "not-confirmed"
    SERVER_STARTING = "server-starting"
    CLOCK_SKEW = "clock-skew"
    CLOCKS_UNKNOWN = "clocks-unknown"
    SUBNETS_DIFFER = "subnets-differ"
    STANDBY_SERVES = "standby-serves"
    OPERATOR_ORDER = "operator-order"
    NOT_TOGETHER = "not-together"
    SUSPICIOUS = "suspicious-source"
    RECONCILE_CAP = "reconcile-cap"
    TAKES_SERVICE = "takes-service"
    NOT_CHOSEN = "not-chosen"
    SIBLING_ACTS = "sibling-acts"
    SIBLING_LEADS = "sibling-leads"
    COOLING_DOWN = "cooling-down"
    BREAKER = "breaker"
    NO_WAY = "no-way"
    """Not a guard's word: this strategy can't be gone here at all."""


@dataclass(frozen=True, slots=True)
class Withheld:
    """Why something is not done."""

    guard: Guard
    strategy: str
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What one look at the history comes to."""

    diagnosis: Diagnosis
    also: tuple[Diagnosis, ...] = ()
    """What else was found, gravest first."""
    plan: Plan | None = None
    """The best plan there is; it is to be carried out only if ``act``."""
    withheld: tuple[Withheld, ...] = ()
    mode: Mode = Mode.HOT_STANDBY
    serving: bool = False
    """Whether every scope of the pair is served by somebody, as far as can be seen."""
    redundant: bool = False
    """Whether the loss of either server would be survived now."""

    @property
    def act(self) -> bool:
        """Return whether the plan is to be carried out now."""
        return self.plan is not None and not any(held.strategy == self.plan.strategy for held in self.withheld)

    @property
    def all(self) -> tuple[Diagnosis, ...]:
        """Return every diagnosis, gravest first."""
        return (self.diagnosis, *self.also)

    @property
    def diagnosed(self) -> tuple[Since, ...]:
        """Return what the next round needs to know since when things hold."""
        return tuple(Since(diagnosis.code, diagnosis.since) for diagnosis in self.all)


GuardCheck = Callable[[Plan, Facts], str | None]


def _autonomy(_: Plan, facts: Facts) -> str | None:
    match facts.policy.autonomy:
        case Autonomy.AUTO:
            return None
        case Autonomy.SUGGEST:
            return 'autonomy is "suggest": run `keawatch heal` to have it done'
        case Autonomy.OBSERVE:
            return 'autonomy is "observe": keawatch only watches this pair'


def _paused(_: Plan, facts: Facts) -> str | None:
    pause = facts.history.pause_in_force
    if pause is None:
        return None
    until = f"until {pause.until:%Y-%m-%d %H:%M} UTC" if pause.until else "until `keawatch resume`"
    return f"paused by {pause.owner} {until}: {pause.reason or 'no reason given'}"


def _under_way(_: Plan, facts: Facts) -> str | None:
    running = [attempt for attempt in facts.history.attempts if attempt.ended_at is None]
    return f"plan {running[-1].plan_id} is under way" if running else None


def _blind(_: Plan, facts: Facts) -> str | None:
    # Unknown is unsafe: a plan touches no pair of which one server is silent.
    silent = [o.server for o in facts.snapshot if o.status is None]
    if not silent:
        return None
    return f"{' and '.join(silent)} gives no answer, and what is not known is not safe"


def _identity(_: Plan, facts: Facts) -> str | None:
    clash = next((d for d in diagnose(facts) if d.code is Code.IDENTITY_CLASH), None)
    return None if clash is None else f"which server is which is not certain: {clash.sentence}"


def _not_confirmed(_: Plan, facts: Facts) -> str | None:
    need = facts.policy.confirm_for
    held = facts.held(_same_words(facts))
    if held >= need:
        return None
    return f"seen for {max(held, 0.0):.0f} s, to be confirmed for {need:.0f} s"


def _same_words(facts: Facts) -> Callable[[Snapshot], bool]:
    words = {o.server: o.word for o in facts.snapshot}
    return lambda snapshot: all(o.word == words.get(o.server) for o in snapshot)


def _server_starting(_: Plan, facts: Facts) -> str | None:
    if not (facts.a.serves or facts.b.serves):
        return None  # Nobody is served: there is nothing to spare by waiting.
    for observation in facts.snapshot:
        reload = observation.status.reload if observation.status else None
        if reload is not None and reload < facts.policy.grace:
            return f"{observation.server} was (re)configured {reload:.0f} s ago; it is left to itself for {facts.policy.grace:.0f} s"
    return None


_HEALS_TERMINATED = frozenset(
    {Code.TERMINATED_SKEW, Code.TERMINATED_REJECTS, Code.TERMINATED_UNKNOWN, Code.TERMINATED_ONE_SIDED}
)


def _clock_skew(plan: Plan, facts: Facts) -> str | None:
    heals, mends = plan.code in _HEALS_TERMINATED, any(step.work for step in plan.steps)
    if not (heals or mends) or facts.skew is None or abs(facts.skew) <= facts.policy.skew_warning:
        return None
    ahead, behind = (facts.b, facts.a) if facts.skew > 0 else (facts.a, facts.b)
    # Which of two leases is the newer, and who gave one out, is told by times that both servers' clocks have made.
    harm = "healed the pair would terminate again" if heals else "which lease is the newer can't be told"
    return (
        f"the clock of {ahead.server} is {abs(facts.skew):.0f} s ahead of {behind.server}'s, and {harm}: set the clocks right "
        f"(check the time service on both), and keawatch {'heals' if heals else 'goes on'} by itself"
    )


def _clocks_unknown(plan: Plan, facts: Facts) -> str | None:
    if plan.code not in _HEALS_TERMINATED or facts.skew is not None or facts.someone_silent:
        return None
    return (
        "the servers' clocks could not be compared (no ha-heartbeat answer), and a skew would terminate the pair again"
    )


def _subnets_differ(plan: Plan, facts: Facts) -> str | None:
    mends = plan.strategy in _MENDS - REFILLS
    apart = subnets_apart(facts) if mends or plan.code in _HEALS_TERMINATED else None
    if apart is None:
        return None
    what = "each lease written to the other would be refused" if mends else "each lease update would be rejected again"
    return f"the subnets in the running configurations differ, and {what}: {apart}; make them equal, and reload both"


def _standby_serves(plan: Plan, facts: Facts) -> str | None:
    """Hold back what would take service from the only server that has it (law 1)."""
    resets = {order.server for order in plan.orders if order.command in {Command.HA_RESET, Command.CONFIG_SET}}
    if facts.mode is not Mode.HOT_STANDBY or not facts.b.serves or facts.a.serves or facts.b.server not in resets:
        return None
    return f"{facts.b.server} is the only server that answers clients; nothing automatic is done to it"


def _operator_order(plan: Plan, facts: Facts) -> str | None:
    if plan.code is not Code.SERVICE_LEFT_DISABLED:
        return None
    for observation in facts.snapshot:
        dhcp = observation.status.dhcp if observation.status else None
        if dhcp and dhcp.user and any(order.server == observation.server for order in plan.orders):
            return (
                f"{observation.server} was switched off by hand or by a tool (dhcp-disable without an origin), and keawatch does not "
                "overrule that: run `keawatch heal` or send dhcp-enable if it was left behind"
            )
    return None


# --- leases


_MENDS = frozenset({"reconcile", "upkeep", "refill"})
"""Plans that change leases at other times than at the gate, where nobody waits for them."""
_OF_LEASES = frozenset({"reconcile", "upkeep", "resync"})
"""Plans that make the two servers' leases alike, also by Kea's own sync."""


def _not_together(plan: Plan, facts: Facts) -> str | None:
    if plan.strategy not in _OF_LEASES | REFILLS:
        return None
    if not _are_normal(facts):
        return (
            f"{facts.a.server} is {facts.a.word} and {facts.b.server} is {facts.b.word}: leases are made alike while both are at "
            "work; it is done when they are together again, or heal the pair first"
        )
    if plan.strategy in REFILLS:
        return None
    deaf = next((hears.server for hears in copies(facts) if not holds(hears, facts.snapshot, facts.snapshot)), None)
    return deaf and (
        f"{deaf} does not hear its partner: leases are made alike while Kea's own updates get through; it is done when "
        "they hear each other again"
    )


def _are_normal(facts: Facts) -> bool:
    return all(state in NORMAL_STATES for state in facts.states)


def _suspicious(plan: Plan, facts: Facts) -> str | None:
    comparison = comparison_for(plan, facts)
    if plan.strategy not in _MENDS or comparison is None or comparison.suspicious is None:
        return None
    if plan.strategy == "refill":
        return (
            f"{comparison.suspicious.rstrip('.')}: find out what became of its leases; `keawatch heal` fills both up, so that the "
            "leases which only the backup server holds come back, and deletes none"
        )
    return (
        f"{comparison.suspicious.rstrip('.')}: find out what became of its leases, look with `keawatch diff`, and run "
        "`keawatch reconcile` to have both filled up; that deletes none"
    )


def _reconcile_cap(plan: Plan, facts: Facts) -> str | None:
    comparison = comparison_for(plan, facts)
    if plan.strategy not in _MENDS or comparison is None or not comparison.is_beyond(facts.policy.reconcile_cap):
        return None
    if comparison.harmless:
        return None  # That part is mended, and the work itself leaves the rest (leases/reconcile.py).
    return (
        f"{comparison.risky} leases, {comparison.share:.1%} of the database, would be overwritten, deleted or copied though nobody saw "
        f"who gave them out, and by itself keawatch changes {facts.policy.reconcile_cap:.1%} at most (reconcile_cap): look with "
        "`keawatch diff`, then run `keawatch reconcile`"
    )


def _takes_service(plan: Plan, _: Facts) -> str | None:
    if plan.strategy == "settle":
        return (
            f"nobody would be served for about {plan.announced_pause:g} s, and the server's next restart does the same: run `keawatch heal` "
            "at a quiet hour to have it done"
        )
    if plan.strategy == "refill-sync":
        return (
            f"clients may get no answer for about {plan.announced_pause:g} s, and only a backup server's records are at stake: run "
            "`keawatch heal` at a quiet hour to have it done"
        )
    if plan.strategy != "resync":
        return None
    return (
        f"nobody would be served for about {plan.announced_pause:g} s, and only lease records are at stake: run `keawatch reconcile` at "
        "a quiet hour to have it done"
    )


# --- what the owner has to choose


def _not_chosen(plan: Plan, facts: Facts) -> str | None:
    if plan.strategy != TAKE_OVER or facts.policy.take_over:
        return None
    return "take_over is off for this pair: run `keawatch heal` to have it done, or set take_over = true to have it done by itself"


# --- the keawatch on the other server's host


STOOD_STILL = 30.0
"""Seconds beyond ``confirm_for`` in which nothing has moved at the pair before one follows a leader that is not heard."""


def _sibling_acts(_: Plan, facts: Facts) -> str | None:
    sibling = facts.history.sibling
    if sibling is None or not sibling.answers or sibling.acts is None:
        return None
    return f"the keawatch beside {sibling.beside} is carrying out plan {sibling.acts}"


def _sibling_leads(plan: Plan, facts: Facts) -> str | None:
    """
    Hold back what the keawatch beside the primary does, as long as it is able to.

    One that is not heard may be dead, or cut off and at work. A keawatch at work moves the pair within ``confirm_for`` and a
    command's deadline; a pair that has stood still for longer has nobody who heals it. Taking over from a dead server does not
    wait: its keawatch is likely gone with it, and the same plan by two of them finds its steps done.
    """
    sibling = facts.history.sibling
    if sibling is None or sibling.beside != facts.a.server:
        return None
    if sibling.unable is None:
        return f"the keawatch beside {sibling.beside}, the primary, leads, and it is able to"
    if sibling.answers or plan.strategy == TAKE_OVER:
        return None
    need = facts.policy.confirm_for + STOOD_STILL
    held = facts.held(_same_words(facts))
    if held >= need:
        return None
    return (
        f"the keawatch beside {sibling.beside}, the primary, leads, and it {sibling.unable}: it may be at work all the same, "
        f"until nothing has moved for {need:.0f} s ({max(held, 0.0):.0f} s so far)"
    )


# --- attempts


_KINDS = (frozenset(Strategy), GATE_STRATEGIES, _OF_LEASES, REFILLS)
"""Strategies that answer for one another: six reconciles say nothing about whether healing lasts, nor the other way round."""


def _of_its_kind(plan: Plan, facts: Facts) -> tuple[Attempt, ...]:
    """Return the earlier attempts that say something about *plan*."""
    if plan.strategy == "continue":
        return _continued(facts)
    kind = next((kind for kind in _KINDS if plan.strategy in kind), frozenset({plan.strategy}))
    return tuple(attempt for attempt in facts.history.attempts if attempt.strategy in kind)


def _continued(facts: Facts) -> tuple[Attempt, ...]:
    """Return the tries to let a held server go since either server last changed: a failed gate says nothing about them."""
    spells = [facts.history.spells_of(o.server) for o in (facts.a, facts.b)]
    since = max((mine[-1].since for mine in spells if mine), default=facts.history.now)
    return tuple(a for a in facts.history.attempts if a.strategy == "continue" and a.started_at >= since)


def _cooling_down(plan: Plan, facts: Facts) -> str | None:
    ended = [attempt for attempt in _of_its_kind(plan, facts) if attempt.ended_at]
    if not ended or ended[-1].ended_at is None:
        return None
    if plan.strategy in GATE_STRATEGIES and ended[-1].result != "failed":
        return None  # A held server takes over for nobody: only what has just failed is worth waiting out.
    failures = _failures_in_a_row(plan, facts)
    wait = min(3600.0, facts.policy.cooldown * 2 ** max(0, failures - 1))
    passed = (facts.history.now - ended[-1].ended_at).total_seconds()
    if passed >= wait:
        return None
    return f"the last attempt ended {passed:.0f} s ago; the next may begin {wait:.0f} s after it"


def _counted(plan: Plan, facts: Facts) -> tuple[Attempt, ...]:
    """Return the attempts of this kind since the breaker was last acknowledged."""
    acknowledged = facts.history.acknowledged_at
    return tuple(a for a in _of_its_kind(plan, facts) if acknowledged is None or a.started_at > acknowledged)


def _failures_in_a_row(plan: Plan, facts: Facts) -> int:
    failures = 0
    for attempt in reversed(_counted(plan, facts)):
        if attempt.result == "ok" or _is_over(attempt, facts):
            break
        failures += attempt.result == "failed"
    return failures


def _is_over(attempt: Attempt, facts: Facts) -> bool:
    """Tell whether the leases were alike since: Kea or a person did what failed, and its cause is gone."""
    alike_at = facts.history.alike_at
    return attempt.strategy in _OF_LEASES and alike_at is not None and attempt.started_at < alike_at


def _breaker(plan: Plan, facts: Facts) -> str | None:
    failures = _failures_in_a_row(plan, facts)
    if failures >= facts.policy.max_failures:
        return f"{failures} attempts in a row have failed; find the cause, then run `keawatch ack`"
    if plan.strategy in GATE_STRATEGIES:
        return None  # A standby may rejoin as often as it likes, and is verified each time.
    since = facts.history.now - timedelta(seconds=facts.policy.healings_window)
    lately = [a for a in _counted(plan, facts) if a.started_at > since and a.by == "auto"]
    if len(lately) < facts.policy.max_healings:
        return None
    hours = facts.policy.healings_window / 3600.0
    what = "the leases differ again and again" if plan.strategy in _MENDS else "healing does not last"
    return f"{len(lately)} attempts within {hours:g} h: {what}, so its cause is still there; find it, then run `keawatch ack`"


GUARDS: tuple[tuple[Guard, GuardCheck], ...] = (
    (Guard.AUTONOMY, _autonomy),
    (Guard.PAUSED, _paused),
    (Guard.UNDER_WAY, _under_way),
    (Guard.BLIND, _blind),
    (Guard.IDENTITY, _identity),
    (Guard.NOT_CONFIRMED, _not_confirmed),
    (Guard.SERVER_STARTING, _server_starting),
    (Guard.CLOCK_SKEW, _clock_skew),
    (Guard.CLOCKS_UNKNOWN, _clocks_unknown),
    (Guard.SUBNETS_DIFFER, _subnets_differ),
    (Guard.STANDBY_SERVES, _standby_serves),
    (Guard.OPERATOR_ORDER, _operator_order),
    (Guard.NOT_TOGETHER, _not_together),
    (Guard.SUSPICIOUS, _suspicious),
    (Guard.RECONCILE_CAP, _reconcile_cap),
    (Guard.TAKES_SERVICE, _takes_service),
    (Guard.NOT_CHOSEN, _not_chosen),
    (Guard.SIBLING_ACTS, _sibling_acts),
    (Guard.SIBLING_LEADS, _sibling_leads),
    (Guard.COOLING_DOWN, _cooling_down),
    (Guard.BREAKER, _breaker),
)

HOLDS_NOT: Mapping[str, frozenset[Guard]] = {
    # It gives service back and takes none.
    "enable": frozenset({Guard.BLIND, Guard.SERVER_STARTING}),
    # A server that has just come back is what the gate is for, and it stands still until it is let go.
    "gate": frozenset({Guard.NOT_CONFIRMED, Guard.SERVER_STARTING}),
    # A held server takes over for nobody: neither a pause of keawatch's nor a breaker may switch failover off, and a
    # silent partner is the very reason to let it go. Kea would never have held it by itself.
    "continue": frozenset(Guard) - {Guard.AUTONOMY, Guard.UNDER_WAY, Guard.IDENTITY, Guard.COOLING_DOWN},
    # That its partner is silent is what it is for; what must be proven stands before each of its steps.
    TAKE_OVER: frozenset({Guard.BLIND, Guard.SERVER_STARTING}),
    # It gives service back within the second in which it is missing, and clears only what Kea clears at its next heartbeat.
    "shorten": frozenset(Guard)
    - {Guard.AUTONOMY, Guard.PAUSED, Guard.UNDER_WAY, Guard.BLIND, Guard.IDENTITY, Guard.OPERATOR_ORDER},
    # A standby that has just rejoined is the one that lacks leases.
    "reconcile": frozenset({Guard.SERVER_STARTING}),
}
"""Strategies, and the guards that have no say about them."""

OPERATOR_OVERRULES = frozenset(
    {
        Guard.AUTONOMY,
        Guard.PAUSED,
        Guard.NOT_CONFIRMED,
        Guard.SERVER_STARTING,
        Guard.OPERATOR_ORDER,
        Guard.SUSPICIOUS,
        Guard.RECONCILE_CAP,
        Guard.TAKES_SERVICE,
        Guard.NOT_CHOSEN,
        Guard.SIBLING_LEADS,
        Guard.COOLING_DOWN,
        Guard.BREAKER,
    }
)
"""Guards that ``keawatch heal`` sets aside because a person decides; the laws of safety are not among them."""


def decide(history: History, policy: Policy, *, by_operator: bool = False) -> Decision:
    """
    Return what is wrong and what is to be done; raises IndexError on a history that has seen nothing.

    With *by_operator* the guards that a person may overrule are left out, the others are not.
    """
    facts = facts_of(history, policy)
    found = diagnose(facts)
    plan, withheld = _choose(found, facts, by_operator=by_operator)
    return Decision(
        diagnosis=found[0],
        also=found[1:],
        plan=plan,
        withheld=withheld,
        mode=facts.mode,
        serving=_serving(facts),
        redundant=_redundant(found, facts),
    )


def _choose(
    found: tuple[Diagnosis, ...], facts: Facts, *, by_operator: bool
) -> tuple[Plan | None, tuple[Withheld, ...]]:
    """Return the first plan that can be made at all, with every reason found on the way against it or a better one."""
    withheld: list[Withheld] = []
    for diagnosis in found:
        for proposal in propose(diagnosis, facts):
            if isinstance(proposal, NoPlan):
                withheld.append(Withheld(Guard.NO_WAY, proposal.strategy, proposal.reason))
                continue
            held = held_back(proposal, facts, by_operator=by_operator)
            stopped = () if held else stopped_at_once(proposal, facts.snapshot)
            if stopped:
                withheld.append(Withheld(Guard.NO_WAY, proposal.strategy, "; ".join(stopped)))
                continue
            return proposal, (*withheld, *held)
    return None, tuple(withheld)


def held_back(plan: Plan, facts: Facts, *, by_operator: bool = False) -> tuple[Withheld, ...]:
    """Return every guard's reason against *plan*, in the order of the table."""
    waived = HOLDS_NOT.get(plan.strategy, frozenset()) | (OPERATOR_OVERRULES if by_operator else frozenset())
    return tuple(
        Withheld(guard, plan.strategy, reason)
        for guard, check in GUARDS
        if guard not in waived and (reason := check(plan, facts))
    )


def _serving(facts: Facts) -> bool:
    served = {scope for o in (facts.a, facts.b) if o.serves for scope in o.scopes}
    if facts.mode is not Mode.LOAD_BALANCING:
        return bool(served)
    return {facts.a.server, facts.b.server} <= served


def _redundant(found: tuple[Diagnosis, ...], facts: Facts) -> bool:
    if facts.mode is Mode.PASSIVE_BACKUP or facts.someone_silent:
        return False
    return _are_normal(facts) and all(
        d.severity in {Severity.OK, Severity.INFO} or d.code in _REDUNDANT_ALL_THE_SAME for d in found
    )


_REDUNDANT_ALL_THE_SAME = frozenset(
    {
        Code.CLOCK_SKEW,
        Code.CONFLICTS_BUSY,
        Code.REJECTS_NEAR_LIMIT,
        Code.BACKUP_SILENT,
        Code.BACKUP_BEHIND,
        Code.POOL_PRESSURE,
    }
)
