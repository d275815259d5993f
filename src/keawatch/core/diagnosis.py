"""
Says what is wrong with a pair, in one sentence, and how that is known.

``RULES`` is one table, gravest first; the first row whose finding is not None names the pair's state, the others found are
told beside it. A rule looks only at ``Facts``: it proposes nothing (``remedies``) and holds nothing back (``decision``).
Each server is judged by its own word; what its partner believes of it is evidence with an age.
"""

from __future__ import annotations

from collections.abc import Callable

from keawatch.core.backups import backup_behind, backup_silent, unwatched
from keawatch.core.causes import cause_of_termination, skewed_now
from keawatch.core.codes import Code, Diagnosis, Finding, Severity
from keawatch.core.conflicts import conflicts_busy, conflicts_subnet, rejects_near_limit, storm_lines
from keawatch.core.divergence import address_twice, leases_diverged
from keawatch.core.drift import config_drift
from keawatch.core.facts import Facts, evidence, skew_line, subnets_apart
from keawatch.core.gate import Gate, at_gate, gate_of, lost_partner, overdue, waits_for
from keawatch.core.model import (
    JOINING_STATES,
    NORMAL_STATES,
    HaState,
    Mode,
    NoAnswer,
    Observation,
    Silence,
    Snapshot,
)
from keawatch.core.plan import LONGEST_QUIET
from keawatch.core.pressure import pool_pressure
from keawatch.core.rejoin import rejoin_pause
from keawatch.core.survivor import not_taken_over
from keawatch.core.unserved import no_acks

Rule = Callable[[Facts], Finding | None]


# --- the rules, in the order of the table


def _blind(facts: Facts) -> Finding | None:
    if facts.a.status or facts.b.status:
        return None
    return Finding(
        Code.OBSERVER_BLIND,
        Severity.CRITICAL,
        f"Neither {facts.a.server} nor {facts.b.server} answers keawatch, so it can tell nothing and will do nothing.",
        evidence(facts),
    )


def _identity_clash(facts: Facts) -> Finding | None:
    named = [(o.server, name) for o in (facts.a, facts.b) if (name := _own_name(o))]
    if len(named) == 2 and named[0][1] == named[1][1]:
        sentence = (
            f"Both servers call themselves {named[0][1]}: the configuration of one was copied to the other whole, "
            "or both addresses lead to one server; set this-server-name apart."
        )
        return Finding(Code.IDENTITY_CLASH, Severity.CRITICAL, sentence, evidence(facts))
    for server, name in named:
        if server != name:
            sentence = (
                f"The server that keawatch is told to call {server} calls itself {name}: either its address or its name is wrong "
                "in keawatch's configuration, or this-server-name is wrong in Kea's."
            )
            return Finding(Code.IDENTITY_CLASH, Severity.CRITICAL, sentence, evidence(facts))
    return None


def _own_name(observation: Observation) -> str | None:
    """Return what a server calls itself: by status-get since 2.6, by its configuration before."""
    if observation.status is None:
        return None
    own = observation.status.ha.server_name if observation.status.ha else None
    return own or (observation.facts.ha.this_server if observation.facts.ha else None)


def _split(facts: Facts) -> Finding | None:
    both = facts.snapshot.served_twice
    if not both:
        return None
    if sharing(facts):
        return Finding(
            Code.SPLIT_SERVING,
            Severity.WARNING,
            f"{facts.a.server} and {facts.b.server} both serve the scope {', '.join(both)}, though they hear each other: a command "
            "(ha-scopes) gave one of them the other's half of the clients as well, and did not take it back.",
            evidence(facts),
        )
    return Finding(
        Code.SPLIT_SERVING,
        Severity.CRITICAL,
        f"{facts.a.server} and {facts.b.server} both serve the scope {', '.join(both)}: "
        "one address may be given to two clients; find out why they do not hear each other before anything else.",
        evidence(facts),
    )


def sharing(facts: Facts) -> tuple[Observation, ...]:
    """Return each server in load-balancing that answers its partner's clients beside its own while that one does so, too."""
    if facts.states != (HaState.LOAD_BALANCING, HaState.LOAD_BALANCING):
        return ()
    twice = facts.snapshot.served_twice
    return tuple(
        seen for seen, partner in facts.snapshot.both_ways() if partner.server in twice and seen.server in seen.scopes
    )


def _both_terminated(facts: Facts) -> Finding | None:
    if facts.states != (HaState.TERMINATED, HaState.TERMINATED):
        return None
    served = facts.a.serves and (facts.b.serves or facts.mode is Mode.HOT_STANDBY)
    nobody = facts.nobody_serves
    service = (
        "Clients are still served" if served else "NO client is served" if nobody else "Only some clients are served"
    )
    cause = cause_of_termination(facts)
    return Finding(
        cause.code,
        Severity.WARNING if served else Severity.CRITICAL,
        f"Both servers have terminated HA {cause.because}. {service}, but no lease is copied and nothing takes over; "
        "Kea never leaves this state by itself.",
        evidence(facts, *cause.evidence, *storm_lines(facts)),
    )


def _one_terminated(facts: Facts) -> Finding | None:
    pairs = [(s, p) for s, p in facts.ways() if s.state is HaState.TERMINATED]
    if len(pairs) != 1 or facts.someone_silent:
        return None
    server, partner = pairs[0]
    # A partner at work sees the termination at its next heartbeat and terminates as well: that is on its way.
    if partner.state is not HaState.WAITING and min(facts.in_state(server), facts.in_state(partner)) < 2 * facts.h + 2:
        return None
    nobody = facts.nobody_serves
    apart, skew = subnets_apart(facts), skewed_now(facts)
    why = f" Their subnets differ: {apart}." if apart else f" It will terminate again {skew.because}." if skew else ""
    return Finding(
        Code.TERMINATED_ONE_SIDED,
        Severity.CRITICAL if nobody else Severity.WARNING,
        f"{server.server} has terminated HA while {partner.server} is {partner.word}: "
        f"{'NO client is served' if nobody else 'clients are served, by one server alone'}, "
        f"and {partner.server} can't come back by itself.{why}",
        evidence(facts, skew_line(facts)),
    )


def left_disabled(facts: Facts) -> tuple[Observation, float, float] | None:
    """
    Return the server that was left switched off, for how long, and how long would be normal; or None.

    One that should serve comes before a standby that could not take over.
    """
    for is_meant in (_should_serve, _should_take_over):
        for server, partner in facts.ways():
            if not is_meant(server) or not (server.status and server.status.switched_off):
                continue
            patience = _patience_with_disabled(facts, server, partner)
            held = max(facts.held(_still_off(server)), facts.history.off_for(server))
            if held >= patience:
                return server, held, patience
    return None


def _left_disabled(facts: Facts) -> Finding | None:
    left = left_disabled(facts)
    if left is None:
        return None
    server, held, patience = left
    by = f"its DHCP was left switched off by {_origin_words(server)} (origin {', '.join(server.origins) or 'unknown'})"
    told = evidence(
        facts, f"switched off for {held:.0f} s, longer than any sync or heartbeat explains ({patience:.0f} s)"
    )
    if _should_serve(server):
        said = f"{server.server} is {server.word} and should serve, but {by}: its clients get no answer."
        return Finding(Code.SERVICE_LEFT_DISABLED, Severity.CRITICAL, said, told)
    partner = next(other for one, other in facts.ways() if one is server)
    said = f"{server.server} is {server.word}, but {by}: should {partner.server} fail now, nobody would be served."
    return Finding(Code.SERVICE_LEFT_DISABLED, Severity.WARNING, said, told)


def _still_off(server: Observation) -> Callable[[Snapshot], bool]:
    by = set(server.origins)
    return lambda snapshot: bool(by & set(snapshot.of(server.server).origins))


def _should_serve(server: Observation) -> bool:
    return server.state is not None and server.state in _SHOULD_SERVE and bool(server.scopes)


def _should_take_over(server: Observation) -> bool:
    """
    Return whether this is a standby at work that another origin than its own holds off.

    Its own it clears itself when it takes over, and no other (ha_service.cc, adjustNetworkState).
    """
    dhcp = server.status.dhcp if server.status else None
    held = dhcp is not None and bool(dhcp.user or dhcp.remote or dhcp.database)
    return held and server.state is HaState.HOT_STANDBY and not server.scopes


_SHOULD_SERVE = frozenset(
    {
        HaState.HOT_STANDBY,
        HaState.LOAD_BALANCING,
        HaState.PARTNER_DOWN,
        HaState.PARTNER_IN_MAINTENANCE,
        HaState.TERMINATED,
        HaState.COMMUNICATION_RECOVERY,
    }
)


def _patience_with_disabled(facts: Facts, server: Observation, partner: Observation) -> float:
    """
    Return for how long a server that should serve may be switched off without anything being wrong.

    While its partner syncs, the partner's origin holds it (renewed page by page); after the sync Kea 2.6 and later
    hold it by their own origin until the next heartbeat (ha_service.cc, processSyncCompleteNotify).
    """
    dhcp = server.status.dhcp if server.status else None
    # A partner that syncs answers no command meanwhile, so silence may be a sync.
    may_sync = partner.state in {HaState.SYNCING, HaState.WAITING} or (partner.status is None and dhcp and dhcp.remote)
    if may_sync:
        # A thousand leases a second is slower than any sync that was seen; a long one is no fault.
        return facts.sync_timeout + 2 * facts.h + max(server.facts.leases or 0, partner.facts.leases or 0) / 1000.0
    if dhcp and dhcp.user:
        # A plan that is under way may have done it, and undoes it; its timer ends it at the latest.
        under_way = any(attempt.ended_at is None for attempt in facts.history.attempts)
        return LONGEST_QUIET if under_way else facts.policy.confirm_for
    return facts.h + 4.0


def _origin_words(server: Observation) -> str:
    dhcp = server.status.dhcp if server.status else None
    if dhcp is None:
        return "an unknown origin"
    words = (
        "a dhcp-disable of an operator or tool" if dhcp.user else "",
        "its own HA machine" if dhcp.local else "",
        "its partner" if dhcp.remote else "",
        "its lost database" if dhcp.database else "",
    )
    return " and ".join(word for word in words if word) or "an unknown origin"


def _deaf(facts: Facts) -> Finding | None:
    for server, _ in facts.ways():
        if server.status and server.status.sockets == "failed":
            errors = "; ".join(server.status.socket_errors) or "no reason given"
            return Finding(
                Code.DEAF,
                Severity.CRITICAL,
                f"{server.server} reports {server.word} but hears no client: its sockets failed to open ({errors}); restart it.",
                evidence(facts),
            )
    return None


def _nobody(facts: Facts) -> Finding | None:
    if facts.someone_silent or not facts.nobody_serves:
        return None
    patience = facts.remembered(4 * facts.h + facts.sync_timeout)
    held = facts.held(lambda s: s.both_answered and not (s.first.serves or s.second.serves))
    if held < patience and _on_the_way(facts):
        return None
    if held < facts.policy.confirm_for:
        return None
    return Finding(
        Code.NOBODY_SERVING,
        Severity.CRITICAL,
        f"Neither server answers clients: {facts.a.server} is {facts.a.word} and {facts.b.server} is {facts.b.word}, for {held:.0f} s now.",
        evidence(facts, _waiting_for(facts)),
    )


def _on_the_way(facts: Facts) -> bool:
    return any(state in JOINING_STATES for state in facts.states)


def _waiting_for(facts: Facts) -> str | None:
    paused = [o.server for o in (facts.a, facts.b) if o.facts.ha and o.facts.ha.pauses]
    return f"{', '.join(paused)} is configured to pause in some states" if paused else None


def _ha_missing(facts: Facts) -> Finding | None:
    lacking = [o.server for o in (facts.a, facts.b) if o.status and o.status.ha is None]
    if not lacking:
        return None
    return Finding(
        Code.HA_MISSING,
        Severity.CRITICAL,
        f"{' and '.join(lacking)} runs without the HA hook: it answers clients alone and knows of no partner; "
        "load libdhcp_ha.so again (or restart it on its configuration on disk).",
        evidence(facts),
    )


def _one_silent(facts: Facts) -> tuple[Observation, Observation] | None:
    for server, partner in facts.ways():
        if server.status is None and partner.status is not None:
            return server, partner
    return None


def _partner_down(facts: Facts) -> Finding | None:
    pair = _one_silent(facts)
    if pair is None or pair[1].state is not HaState.PARTNER_DOWN:
        return None
    silent, alive = pair
    proof = isinstance(silent.answer, Silence) and silent.answer.daemon_dead
    return Finding(
        Code.PARTNER_DOWN,
        Severity.WARNING if alive.serves else Severity.CRITICAL,
        f"{silent.server} is down{' (its own host says so)' if proof else ''}; {alive.server} "
        f"{'serves all clients alone' if alive.serves else 'has taken over but serves NO client'}.",
        evidence(facts),
    )


def _unreachable(facts: Facts) -> Finding | None:
    pair = _one_silent(facts)
    if pair is None:
        return None
    silent, alive = pair
    view = alive.partner
    hears = view is not None and view.in_touch and not view.communication_interrupted and view.age <= 2 * facts.h + 2
    if hears and alive.state is not HaState.TERMINATED:
        meaning = (
            f"{alive.server} heard it {view.age:.0f} s ago, so it is likely alive and only keawatch can't reach it"  # type: ignore[union-attr]
        )
    else:
        meaning = f"whether it is dead or only out of reach is not known; {alive.server} is {alive.word}"
    serving = "clients are served" if alive.serves else f"{alive.server} serves no client"
    return Finding(
        Code.SERVER_UNREACHABLE,
        Severity.WARNING if alive.serves or hears else Severity.CRITICAL,
        f"{silent.server} does not answer keawatch ({_silence_words(silent)}): {meaning}; {serving}.",
        evidence(facts),
    )


def _silence_words(silent: Observation) -> str:
    words = {
        NoAnswer.TIMEOUT: "no answer in time",
        NoAnswer.REFUSED: "connection refused",
        NoAnswer.DENIED: "credentials refused",
        NoAnswer.GARBLED: "not an answer of Kea's",
    }
    return words[silent.answer.kind] if isinstance(silent.answer, Silence) else "no answer"


def _stuck_syncing(facts: Facts) -> Finding | None:
    return _stuck(facts, HaState.SYNCING, Code.STUCK_SYNCING, facts.sync_timeout + 2 * facts.h, _WHY_SYNCING)


def _stuck_waiting(facts: Facts) -> Finding | None:
    return _stuck(facts, HaState.WAITING, Code.STUCK_WAITING, facts.max_response_delay + 2 * facts.h, _WHY_WAITING)


def _stuck_ready(facts: Facts) -> Finding | None:
    return _stuck(facts, HaState.READY, Code.STUCK_READY, 4 * facts.h + 5, _WHY_READY)


_WHY_SYNCING = "each sync fails and starts again; look in its log for HA_SYNC_FAILED (lease_cmds missing at the partner, a page too big, a refused certificate)"
_WHY_WAITING = "it is paused, hears its partner in a mode it can't work with, or gets no heartbeats (heartbeat-delay 0)"
_WHY_READY = "its partner does not see it, or it is configured to pause there and nobody sent ha-continue"


def _stuck(facts: Facts, state: HaState, code: Code, patience: float, why: str) -> Finding | None:
    for server, partner in facts.ways():
        if server.state is not state or facts.in_state(server) <= patience or at_gate(facts, server):
            continue
        nobody = facts.nobody_serves
        return Finding(
            code,
            Severity.CRITICAL if nobody else Severity.WARNING,
            f"{server.server} has been {state} for {facts.in_state(server):.0f} s, longer than the {patience:.0f} s it can need: {why}; "
            f"{partner.server} is {partner.word}{' and NO client is served' if nobody else ''}.",
            evidence(facts),
        )
    return None


def _one_way(facts: Facts) -> Finding | None:
    for server, partner in facts.ways():
        if server.state is HaState.PARTNER_DOWN and partner.state is HaState.READY:
            held = min(facts.in_state(server), facts.in_state(partner))
            if held <= 3 * facts.h + 2:
                continue
            return Finding(
                Code.ONE_WAY_LINK,
                Severity.WARNING,
                f"{server.server} can't reach {partner.server} but is heard by it: it stays in partner-down while {partner.server} "
                "is ready for ever; look at the url, firewall and certificates of that one direction.",
                evidence(facts),
            )
    return None


def _gate_held(facts: Facts) -> Finding | None:
    gate = gate_of(facts)
    if gate is None:
        return None
    lost = lost_partner(gate, facts)
    return Finding(
        Code.GATE_HELD,
        _severity_at_gate(gate, facts, lost),
        _gate_sentence(gate, facts, lost),
        evidence(facts, _gate_line(gate, facts)),
    )


def _severity_at_gate(gate: Gate, facts: Facts, lost: str | None) -> Severity:
    if lost:
        return Severity.CRITICAL
    well = gate.partner.serves and not overdue(gate, facts)
    return Severity.INFO if well else Severity.WARNING


def _gate_sentence(gate: Gate, facts: Facts, lost: str | None) -> str:
    held, partner, waiting = gate.held.server, gate.partner.server, waits_for(gate, facts)
    if lost:
        return f"{partner} {lost}, and {held} is held in ready, where it takes over for nobody: {waiting}."
    if overdue(gate, facts):
        return (
            f"{held} has been held in ready for {gate.seconds:.0f} s, longer than the {facts.policy.gate_deadline:.0f} s it may "
            f"be: {waiting}; until it goes on it takes over for nobody."
        )
    return (
        f"{held} has {partner}'s leases as far as Kea copies them, and is held in ready until that is verified: {waiting}; "
        "until it goes on it takes over for nobody."
    )


def _gate_line(gate: Gate, facts: Facts) -> str:
    pause = gate.held.facts.ha.pauses[HaState.READY] if gate.held.facts.ha else "unknown"
    return (
        f"{gate.held.server}'s running configuration pauses it in ready ({pause}); it has been there for {gate.seconds:.0f} s, "
        f"of {facts.policy.gate_deadline:.0f} s at most"
    )


def _partner_down_false(facts: Facts) -> Finding | None:
    for server, partner in facts.ways():
        settled = partner.state is not None and partner.state in NORMAL_STATES
        if server.state is HaState.PARTNER_DOWN and settled and facts.in_state(server) > 2 * facts.h + 2:
            return Finding(
                Code.PARTNER_DOWN_FALSE,
                Severity.WARNING,
                f"{server.server} is in partner-down, but {partner.server} answers keawatch and is {partner.word}: "
                "the link between the two is cut, not the server.",
                evidence(facts),
            )
    return None


def _unheard(snapshot: Snapshot) -> bool:
    return any(
        o.partner and (o.partner.communication_interrupted or o.partner.state is HaState.UNAVAILABLE) for o in snapshot
    )


def _link_broken(facts: Facts) -> Finding | None:
    if any(state is None or state not in NORMAL_STATES for state in facts.states):
        return None
    cut = [s for s, _ in facts.ways() if s.partner and s.partner.communication_interrupted]
    unseen = [s for s, _ in facts.ways() if s.partner and s.partner.state is HaState.UNAVAILABLE]
    if not (cut or unseen) or facts.held(_unheard) < facts.h:
        return None
    server = (cut or unseen)[0]
    what = "the HA link between them fails"
    if _hears_heartbeats(facts, server):
        what = (
            "their heartbeats get through and its lease updates do not, so the partner refuses them (subnets that differ, a full disk on its "
            "host), or takes too long"
        )
    return Finding(
        Code.PEER_LINK_BROKEN,
        Severity.WARNING,
        f"{server.server} does not hear its partner, though both answer keawatch: {what}"
        f"{'; lease updates fail, so clients may get no answer until it fails over' if server.serves else ''}.",
        evidence(facts),
    )


def _hears_heartbeats(facts: Facts, server: Observation) -> bool:
    """
    Return whether a server that takes its partner for gone has heard it within a heartbeat, and is heard.

    A lease update that fails makes the partner unavailable at once, until the next heartbeat (ha_service.cc, asyncSendLeaseUpdate).
    """
    partner = facts.snapshot.partner_of(server.server)
    return bool(
        server.partner
        and server.partner.age < facts.h
        and not server.partner.communication_interrupted
        and partner.partner
        and partner.partner.age < facts.h
        and partner.partner.state is not HaState.UNAVAILABLE
    )


def _maintenance(facts: Facts) -> Finding | None:
    resting = [o.server for o in (facts.a, facts.b) if o.state is HaState.IN_MAINTENANCE]
    caring = [o.server for o in (facts.a, facts.b) if o.state is HaState.PARTNER_IN_MAINTENANCE]
    if not resting and not caring:
        return None
    return Finding(
        Code.IN_MAINTENANCE,
        Severity.INFO if facts.a.serves or facts.b.serves else Severity.CRITICAL,
        f"The pair is in maintenance: {', '.join(resting) or 'one server'} rests and "
        f"{', '.join(caring) or 'nobody'} serves; end it with ha-maintenance-cancel at the one that serves, or, where Kea falls "
        "back into it as before 3.0, stop the other, wait until the one that serves is in partner-down, and start it again.",
        evidence(facts),
    )


def _skew(facts: Facts) -> Finding | None:
    if facts.skew is None or abs(facts.skew) <= facts.policy.skew_warning:
        return None
    ahead = facts.b if facts.skew > 0 else facts.a
    return Finding(
        Code.CLOCK_SKEW,
        Severity.WARNING,
        f"The clock of {ahead.server} is {abs(facts.skew):.0f} s ahead of its partner's; above 60 s Kea terminates HA: mend the time service.",
        evidence(facts, skew_line(facts)),
    )


def _well(facts: Facts) -> bool:
    if facts.mode is Mode.PASSIVE_BACKUP:
        return any(state is HaState.PASSIVE_BACKUP for state in facts.states)
    if facts.mode is Mode.HOT_STANDBY:
        return facts.states == (HaState.HOT_STANDBY, HaState.HOT_STANDBY) and facts.a.serves
    return facts.states == (HaState.LOAD_BALANCING, HaState.LOAD_BALANCING) and facts.a.serves and facts.b.serves


def _ok(facts: Facts) -> Finding | None:
    if not _well(facts):
        return None
    who = (
        f"{facts.a.server} serves" if facts.mode is Mode.HOT_STANDBY else f"{facts.a.server} and {facts.b.server} serve"
    )
    sentence = f"The pair works: {who}, and either server can take over."
    if facts.mode is Mode.PASSIVE_BACKUP:
        sentence = (
            f"{facts.a.server} serves and copies its leases to a backup; in this mode nothing takes over by itself."
        )
    unknown = [
        f"{name} is a backup server of the pair, and keawatch was not told to watch it" for name in unwatched(facts)
    ]
    return Finding(Code.OK, Severity.OK, sentence, evidence(facts, *unknown))


def _settling(facts: Facts) -> Finding | None:
    if _well(facts):
        return None
    serving = [o.server for o in (facts.a, facts.b) if o.serves]
    return Finding(
        Code.SETTLING,
        Severity.INFO if serving else Severity.WARNING,
        f"The pair is on its way: {facts.a.server} is {facts.a.word}, {facts.b.server} is {facts.b.word}; "
        f"{' and '.join(serving) + ' serves' if serving else 'nobody serves at the moment'}.",
        evidence(facts),
    )


RULES: tuple[Rule, ...] = (
    _blind,
    _identity_clash,
    _ha_missing,
    _both_terminated,
    _one_terminated,
    _split,
    _left_disabled,
    _deaf,
    _nobody,
    not_taken_over,
    _partner_down,
    _unreachable,
    _stuck_syncing,
    _stuck_waiting,
    _one_way,
    _gate_held,
    _stuck_ready,
    _partner_down_false,
    _link_broken,
    conflicts_subnet,
    no_acks,
    rejects_near_limit,
    leases_diverged,
    _maintenance,
    _skew,
    conflicts_busy,
    rejoin_pause,
    _settling,
    address_twice,
    _ok,
    config_drift,
    backup_silent,
    backup_behind,
    pool_pressure,
)
"""Gravest first; one of SETTLING and OK always finds something, and what follows them says nothing against them."""


def diagnose(facts: Facts) -> tuple[Diagnosis, ...]:
    """Return every finding, gravest first, each with the time since when it holds; never empty."""
    findings: list[Finding] = []
    for rule in RULES:
        finding = rule(facts)
        # OK and SETTLING name the whole pair: they say nothing beside a graver word.
        if finding and not (findings and finding.code in {Code.OK, Code.SETTLING}):
            findings.append(finding)
    known = {since.code: since.at for since in facts.history.diagnosed}
    return tuple(
        Diagnosis(f.code, f.severity, f.sentence, known.get(f.code, facts.history.now), f.evidence) for f in findings
    )
