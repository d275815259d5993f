"""
Proposes how a terminated pair is healed: ways from best to plainest, each a sequence tried on real pairs of Kea 2.2, 2.6 and 3.0.

docs/architecture.md says what was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from keawatch.core.codes import Diagnosis
from keawatch.core.facts import Facts, configured_within, sync_seconds
from keawatch.core.lease_remedies import can_not_reconcile
from keawatch.core.model import JOINING_STATES, NORMAL_STATES, HaState, Mode, version_of
from keawatch.core.plan import (
    LONGEST_QUIET,
    Command,
    Condition,
    ConfigVariant,
    Fact,
    Order,
    Plan,
    Step,
    Work,
    not_state,
    serves,
    serves_for,
    serves_not,
    state,
)
from keawatch.core.policy import Strategy
from keawatch.core.proposals import LONGEST_WORK, NoPlan, Proposal, lacking, plan_id

_BOUNCE = 0.05
"""Seconds to look for the effect of a reset: Kea runs its state machine before it answers, so a bounce shows at once."""

_COMING_BACK = tuple(sorted(JOINING_STATES | NORMAL_STATES))
_NOT_TERMINATED = (*_COMING_BACK, HaState.PARTNER_DOWN)


def heal(diagnosis: Diagnosis, facts: Facts) -> tuple[Proposal, ...]:
    """Return every allowed way of healing a terminated pair, best first."""
    by_hand = [o.server for o in (facts.a, facts.b) if o.status and o.status.dhcp and o.status.dhcp.user]
    if by_hand:
        # A dhcp-disable by hand outlives every reset: no plan could end with that server serving.
        return (NoPlan("heal", f"{' and '.join(by_hand)} was switched off by hand (dhcp-disable); switch it on first"),)
    proposals = [_STRATEGIES[strategy](diagnosis, facts) for strategy in facts.policy.strategies]
    plans = [proposal for proposal in proposals if isinstance(proposal, Plan)]
    failed = {plan.strategy: at for plan in plans if (at := _failed_lately(plan.strategy, facts))}
    if len(failed) == len(plans):
        return tuple(proposals)  # Each that can be gone has failed: what holds them back then is the breaker.
    return tuple(
        NoPlan(proposal.strategy, f"it failed at {failed[proposal.strategy]:%H:%M} UTC, so another way goes first")
        if proposal.strategy in failed
        else proposal
        for proposal in proposals
    )


_LATELY = timedelta(hours=1)


def _failed_lately(strategy: str, facts: Facts) -> datetime | None:
    """Return when the last attempt by *strategy* failed, if that was within the hour and nobody has acknowledged it since."""
    ended = [a for a in facts.history.attempts if a.strategy == strategy and a.ended_at]
    if not ended or ended[-1].result != "failed" or ended[-1].ended_at is None:
        return None
    acknowledged = facts.history.acknowledged_at
    at = ended[-1].ended_at
    fresh = facts.history.now - at < _LATELY and (acknowledged is None or at > acknowledged)
    return at if fresh else None


# --- seamless


def _seamless(diagnosis: Diagnosis, facts: Facts) -> Proposal:
    """
    Return the plan that costs the clients nothing: as ``cover``, with keawatch in the place of Kea's own sync.

    The standby comes back with ``sync-leases`` off, so that it never switches the primary off; the leases it lacks are
    written to it before that and once more after. Its running configuration then differs from the one on its disk in
    that one word, until its next restart (``History.config_apart``).
    """
    a, b = facts.a, facts.b
    obstacle = _can_cover(facts) or can_not_reconcile(facts) or _can_not_be_quiet(facts)
    if obstacle:
        return NoPlan(Strategy.SEAMLESS, obstacle)
    return Plan(
        id=plan_id(diagnosis, facts, Strategy.SEAMLESS),
        code=diagnosis.code,
        strategy=Strategy.SEAMLESS,
        summary=(
            f"{b.server} steps aside for a moment so that {a.server} goes to partner-down and serves all along; "
            f"{b.server}'s leases are made those of {a.server}, it comes back without Kea's own sync, and they are compared again"
            + (f"; {a.server} answers {b.server}'s half of the clients meanwhile." if _halves(facts) else ".")
        ),
        steps=(*_aside(facts), *_take_over(facts), *come_back_alike(facts)),
        announced_pause=0.1 if _halves(facts) else 0.02,
    )


def come_back_alike(facts: Facts) -> tuple[Step, ...]:
    """Return the steps by which a standby aside comes back beside a primary in partner-down, its leases made alike by keawatch."""
    a, b = facts.a.server, facts.b.server
    waits = state(b, HaState.WAITING, HaState.READY)
    return (
        *_opened(facts, only_if=(state(a, HaState.PARTNER_DOWN), waits)),
        Step(
            key="standby-alike",
            title=f"make {b}'s leases those of {a}, which goes on serving",
            only_if=(state(a, HaState.PARTNER_DOWN), waits),
            before=(state(a, HaState.PARTNER_DOWN), serves(a), waits),
            deadline=LONGEST_WORK,
            work=Work.CATCH_UP,
        ),
        Step(
            key="standby-rejoin",
            title=f"give {b} its own configuration back, with Kea's own sync off",
            order=Order(b, Command.CONFIG_SET, config=ConfigVariant.REJOIN),
            before=(serves(a),),
            after=(state(b, *_COMING_BACK),),
            deadline=configured_within(facts),
            rest=True,
        ),
        *_quiet(facts),
        *_through_gate(facts),
        *_loud(facts),
        *_together(facts),
        Step(
            key="alike-again",
            title=f"compare once more: {a} went on leasing until {b} was back",
            before=(serves(a),),
            deadline=LONGEST_WORK,
            rest=True,
            work=Work.RECONCILE,
        ),
    )


def _opened(facts: Facts, only_if: tuple[Condition, ...]) -> tuple[Step, ...]:
    """Return the step that gives a closed standby its lease commands back, so that its leases can be made alike."""
    a, b = facts.a.server, facts.b.server
    if _way_aside(facts) is not ConfigVariant.CLOSED:
        return ()
    return (
        Step(
            key="standby-open",
            title=f"give {b} its lease commands back, {a} being a stranger to it still",
            order=Order(b, Command.CONFIG_SET, config=ConfigVariant.ESTRANGED),
            only_if=only_if,
            before=(serves(a),),
            after=(state(b, HaState.WAITING, HaState.READY),),
            deadline=configured_within(facts),
        ),
    )


def _is_kept_quiet(facts: Facts) -> bool:
    """
    Return whether the secondary has to be kept from serving until it has every lease.

    In load-balancing it serves as soon as it is back, mostly from the same pools, and gives out again what its partner leased
    since the catch-up; Kea's lease update then overwrites that at the partner, too (seen on 2.6.3: 43 of 119). At a gate it
    hears its partner before it serves.
    """
    return _halves(facts) and not _through_gate(facts)


def _can_not_be_quiet(facts: Facts) -> str | None:
    return lacking(facts.b, (Command.DHCP_DISABLE, Command.DHCP_ENABLE)) if _is_kept_quiet(facts) else None


def _quiet(facts: Facts) -> tuple[Step, ...]:
    b = facts.b.server
    if not _is_kept_quiet(facts):
        return ()
    # A dead man's timer: should keawatch die, the secondary switches itself on again.
    longest = min(round(4 * facts.h + 4 * sync_seconds(facts) + 20.0), LONGEST_QUIET)
    return (
        Step(
            key="standby-quiet",
            title=f"have {b} answer nobody until its leases are those of {facts.a.server} again, for {longest} s at most",
            order=Order(b, Command.DHCP_DISABLE, {"max-period": longest}),
            before=(serves(facts.a.server),),
            after=(serves_not(b),),
            required=False,
            compensation=Order(b, Command.DHCP_ENABLE),
        ),
    )


def _loud(facts: Facts) -> tuple[Step, ...]:
    """Return the steps that let a quiet secondary serve, as soon as the primary copies its leases to it and it has the rest."""
    a, b = facts.a.server, facts.b.server
    if not _is_kept_quiet(facts):
        return ()
    joined = (state(a, facts.normal),)
    return (
        Step(
            key="primary-joined",
            title=f"wait until {a} copies its leases to {b} again",
            after=joined,
            deadline=_patience(facts),
            closely=True,
        ),
        *_for_both(facts, "primary-for-both-again", only_if=(serves_not(b),)),
        Step(
            key="alike-quickly",
            title=f"give {b} what {a} leased until then",
            before=(*joined, serves(a), state(b, HaState.READY, *sorted(NORMAL_STATES))),
            deadline=LONGEST_WORK,
            work=Work.CATCH_UP,
        ),
        Step(
            key="standby-loud",
            title=f"let {b} answer its half of the clients",
            order=Order(b, Command.DHCP_ENABLE),
            after=(Condition(Fact.NOT_SWITCHED_OFF_BY, b, ("1",)),),
        ),
    )


def _halves(facts: Facts) -> bool:
    """Return whether each server answers its half of the clients when all is well."""
    return facts.mode is Mode.LOAD_BALANCING


def _for_both(
    facts: Facts, key: str, *, only_if: tuple[Condition, ...] = (), before: tuple[Condition, ...] = ()
) -> tuple[Step, ...]:
    """
    Return the step by which the primary answers its partner's clients beside its own; none where they are its own anyway.

    Kea keeps the scopes that it was given until the entry code of its next state runs (query_filter.cc, serveScopes).
    """
    a, b = facts.a.server, facts.b.server
    if not _halves(facts):
        return ()
    return (
        Step(
            key=key,
            title=f"let {a} answer {b}'s half of the clients, too",
            order=Order(a, Command.HA_SCOPES, {"scopes": facts.all_scopes}),
            only_if=only_if,
            before=before,
            after=(serves_for(a, *facts.all_scopes),),
            required=False,
        ),
    )


def _leave_half(facts: Facts) -> tuple[Step, ...]:
    """Return the step by which the primary leaves its partner's clients to it again; it goes last, so that no client waits."""
    a, b = facts.a.server, facts.b.server
    if not _halves(facts):
        return ()
    still = (serves_for(a, *facts.all_scopes), serves_for(b, b))
    return (replace(own_half(a, b), key="primary-own-half", only_if=still, rescue=True),)


def own_half(server: str, partner: str) -> Step:
    """Return the step by which *server* answers its own half of the clients only, without what must hold for that."""
    return Step(
        key=f"own-half-{server}",
        title=f"let {server} answer its own half of the clients only, since {partner} answers the other",
        order=Order(server, Command.HA_SCOPES, {"scopes": [server]}),
        after=(serves_for(server, server),),
        rest=True,
    )


def _through_gate(facts: Facts) -> tuple[Step, ...]:
    """Return the steps that let a standby on which its own configuration holds in ``ready``; none where nothing holds it."""
    a, b = facts.a.server, facts.b
    pauses = b.facts.ha.pauses if b.facts.ha else {}
    if HaState.READY not in pauses or Command.HA_CONTINUE not in b.facts.commands:
        return ()
    held = (state(b.server, HaState.READY),)
    return (
        Step(
            key="standby-held",
            title=f"wait until {b.server} is held at its gate and {a} is at work",
            after=(state(a, *sorted(NORMAL_STATES)), serves(a), state(b.server, HaState.READY, *sorted(NORMAL_STATES))),
            deadline=round(4 * facts.h + 2 * sync_seconds(facts) + 15.0, 1),
            closely=_halves(facts),
            rest=True,
        ),
        *_for_both(facts, "primary-for-both-held", only_if=held),
        Step(
            key="gate-alike",
            title=f"compare {b.server}'s leases with {a}'s before it may serve",
            only_if=held,
            before=(serves(a), *held),
            deadline=LONGEST_WORK,
            required=False,
            rest=True,
            work=Work.RECONCILE,
        ),
        Step(
            key="gate-open",
            title=f"let {b.server} go on from ready",
            order=Order(b.server, Command.HA_CONTINUE),
            only_if=held,
            after=(not_state(b.server, HaState.READY),),
            deadline=2 * facts.h + 5.0,
            rest=True,
        ),
    )


# --- cover


def _cover(diagnosis: Diagnosis, facts: Facts) -> Proposal:
    """
    Return the plan in which the primary serves all along.

    The standby steps aside, so that ``ha-maintenance-start`` finds it gone or gets an error and puts the primary straight
    into ``partner-down`` (ha_service.cc, processMaintenanceStart); then the standby comes back and syncs. The standby is
    never without HA: killed at any moment, keawatch leaves it a standby that still hears the primary and would take over.
    """
    a, b = facts.a, facts.b
    obstacle = _can_cover(facts)
    if obstacle:
        return NoPlan(Strategy.COVER, obstacle)
    return Plan(
        id=plan_id(diagnosis, facts, Strategy.COVER),
        code=diagnosis.code,
        strategy=Strategy.COVER,
        summary=(
            f"{b.server} steps aside for a moment so that {a.server} goes to partner-down and serves all along; then "
            f"{b.server} comes back and syncs, and clients wait for that sync and the rest of one heartbeat."
        ),
        steps=(*_aside(facts), *_take_over(facts), *_come_back(facts)),
        announced_pause=round(sync_seconds(facts) + facts.h, 1),
    )


def _can_cover(facts: Facts) -> str | None:
    return next((obstacle for check in _COVER_NEEDS if (obstacle := check(facts))), None)


def _states_for_cover(facts: Facts) -> str | None:
    a, b = facts.a, facts.b
    if a.state is HaState.TERMINATED and b.state in {HaState.TERMINATED, HaState.WAITING}:
        return None
    return f"it needs a terminated primary beside a terminated or waiting standby; {a.server} is {a.word}, {b.server} is {b.word}"


def _commands_for_cover(facts: Facts) -> str | None:
    needs = (
        (facts.b, (Command.CONFIG_SET, Command.CONFIG_TEST)),
        (facts.a, (Command.HA_RESET, Command.HA_MAINTENANCE_START, Command.HA_SCOPES, Command.HA_SYNC)),
    )
    return next((missing for server, commands in needs if (missing := lacking(server, commands))), None)


def _forgets_skew(facts: Facts) -> str | None:
    """Return why the primary can't be made to forget a clock skew: a failed request resets it since 2.3.7 only (seen on 2.2.0)."""
    version = facts.a.facts.version or ""
    if not version.startswith(("1.", "2.0.", "2.2.")):
        return None
    return f"{facts.a.server} runs Kea {version}, which never forgets a clock skew by itself, so it would not leave terminated"


def can_step_aside(facts: Facts) -> str | None:
    """Return why the standby can't step aside; None when it can."""
    b = facts.b
    if b.facts.ha is None:
        return f"the running configuration of {b.server} can't be read"
    if _way_aside(facts) is ConfigVariant.ASIDE and not b.facts.ha.dedicated_listener:
        return f"{b.server} is reached by its partner through a Control Agent, which can't step aside before Kea 2.6"
    return None


_NAMES_SINCE = (2, 6, 0)
"""Since which Kea a server's orders to its partner carry its name (command_creator.cc), and are refused where it is unknown."""


def _way_aside(facts: Facts) -> ConfigVariant:
    """Return with which configuration the standby gets out of its partner's reach."""
    versions = [version_of(seen.facts.version) for seen in (facts.a, facts.b)]
    if any(version is None or version < _NAMES_SINCE for version in versions):
        return ConfigVariant.ASIDE
    # A primary at work sends lease updates until it is alone, and clients wait for those; it is not asked for a sync.
    return ConfigVariant.ESTRANGED if facts.a.state in NORMAL_STATES else ConfigVariant.CLOSED


_COVER_NEEDS = (_states_for_cover, _commands_for_cover, _forgets_skew, can_step_aside)


def _aside(facts: Facts) -> tuple[Step, ...]:
    a = facts.a.server
    rests = (state(facts.b.server, HaState.TERMINATED, HaState.WAITING),)
    still = (state(a, HaState.TERMINATED), serves(a), *rests)
    last = (*_halves_alike(facts, still), *_for_both(facts, "primary-for-both", before=still))
    return (*step_aside(facts, still=still, rests=rests, last=last), _link_works(facts))


def _link_works(facts: Facts) -> Step:
    """
    Return the step that sees that packets get through between two servers of which neither sends heartbeats while terminated.

    Two at work hear each other, and it is not for them: a primary at work goes on sending its lease updates to a standby that
    refuses them all, and would not bear to wait.
    """
    a, b = facts.a.server, facts.b.server
    return Step(
        key="link-works",
        title=f"see that {b} hears {a}: where packets are lost between them {a} would wait 10 s and serve nobody",
        after=(Condition(Fact.HEARD_PARTNER, b),),
        deadline=5.0,
    )


def _halves_alike(facts: Facts, still: tuple[Condition, ...]) -> tuple[Step, ...]:
    """
    Return the step that gives the primary the leases of the half that it is about to answer; none where it has all leases.

    In load-balancing both went on leasing while nothing was copied: a primary that does not know what its secondary leased
    gives it out again.
    """
    a, b = facts.a.server, facts.b.server
    if not _halves(facts) or can_not_reconcile(facts):
        return ()
    return (
        Step(
            key="halves-alike",
            title=f"give {a} what {b} leased to its half of the clients while nothing was copied",
            before=still,
            deadline=LONGEST_WORK,
            required=False,
            rest=True,
            work=Work.CATCH_UP,
        ),
    )


def step_aside(
    facts: Facts, *, still: tuple[Condition, ...], rests: tuple[Condition, ...], last: tuple[Step, ...] = ()
) -> tuple[Step, ...]:
    """
    Return the steps by which the standby gets out of its partner's reach, after asking whether it would come back.

    *still* must hold until it goes, and *rests* after it was asked; *last* is done right before it goes.
    """
    a, b, way = facts.a, facts.b, _way_aside(facts)
    goes = f"move {b.server}'s HA endpoint to its loopback address"
    if way is not ConfigVariant.ASIDE:
        goes = f"have {b.server} know {a.server} by another name, so that it refuses at once what {a.server} orders"
    back = Order(b.server, Command.CONFIG_SET, config=ConfigVariant.RECORDED)
    return (
        Step(
            key="standby-test-aside",
            title=f"ask {b.server} whether it would accept the configuration in which it steps aside",
            order=Order(b.server, Command.CONFIG_TEST, config=way),
            before=(*still, clocks_agree(facts)),
            after=rests,
            rest=True,
        ),
        Step(
            key="standby-test-recorded",
            title=f"ask {b.server} whether it would take its present configuration back",
            order=Order(b.server, Command.CONFIG_TEST, config=ConfigVariant.RECORDED),
            before=still,
            after=rests,
            rest=True,
        ),
        *last,
        Step(
            key="standby-aside",
            title=goes,
            order=Order(b.server, Command.CONFIG_SET, config=way),
            before=still,
            after=(state(b.server, HaState.WAITING, HaState.READY),),
            deadline=configured_within(facts),
            compensation=back,
        ),
    )


def primary_serves(facts: Facts) -> Step:
    """Return the step that sees whether the primary has taken all clients."""
    a = facts.a.server
    return Step(
        key="primary-serves",
        title=f"see that {a} is in partner-down and serves",
        after=(state(a, HaState.PARTNER_DOWN), serves(a)),
        deadline=2.0,
    )


def _take_over(facts: Facts) -> tuple[Step, ...]:
    a, b = facts.a, facts.b
    alone = (state(b.server, HaState.WAITING, HaState.READY),)  # Kea serves nobody in either.
    return (
        Step(
            key="primary-forget",
            title=f"let {a.server} find {b.server} gone, which clears what it remembers of clocks and partner",
            # The connection is refused or no leases are to be had, so nothing is synced; the failure clears the remembered skew
            # (communication_state.cc, resetPartnerTime) and marks the partner unavailable.
            unfetchable=b.server,
            order=Order(a.server, Command.HA_SYNC, {"server-name": b.server, "max-period": 10}),
            only_if=(state(a.server, HaState.TERMINATED),),
            before=alone,
            after=(state(a.server, HaState.TERMINATED), serves(a.server)),
            deadline=12.0,
            may_refuse=True,
            # Refused, it takes milliseconds. Where only what the primary sends is lost, which nobody else can tell, it holds it
            # for Kea's ten seconds, and what follows would hold it as long once more.
            at_most=2.0,
        ),
        Step(
            key="primary-reset",
            title=f"take {a.server} out of terminated",
            order=Order(a.server, Command.HA_RESET),
            # Between the reset and the next command nobody serves. The scopes are given in the same breath, since a primary that
            # remembers its partner as long gone is partner-down at once, with empty scopes until its next heartbeat.
            then=(
                Order(a.server, Command.HA_MAINTENANCE_START),
                Order(a.server, Command.HA_SCOPES, {"scopes": facts.all_scopes}),
            ),
            only_if=(state(a.server, HaState.TERMINATED),),
            before=alone,
            after=(state(a.server, HaState.PARTNER_DOWN), serves(a.server)),
            deadline=_BOUNCE,
            required=False,
        ),
        # What follows is for a primary that did not go along, and is skipped beside one that did.
        Step(
            key="primary-alone",
            title=f"{a.server} takes all clients: partner-down at once",
            order=Order(a.server, Command.HA_MAINTENANCE_START),
            only_if=(state(a.server, HaState.WAITING, HaState.SYNCING, HaState.READY),),
            after=(state(a.server, HaState.PARTNER_DOWN),),
            deadline=3.0,
            required=False,
        ),
        scopes_step(facts, "primary-scopes"),
        primary_serves(facts),
    )


def scopes_step(facts: Facts, key: str) -> Step:
    """
    Return the step that lets a primary serve whose state has changed but whose entry code has not run.

    Until its next heartbeat such a server shows empty scopes and its own HA origin (state_model.cc, transition).
    """
    a = facts.a.server
    return Step(
        key=key,
        title=f"give {a} its scopes at once instead of at the next heartbeat",
        order=Order(a, Command.HA_SCOPES, {"scopes": facts.all_scopes}),
        only_if=(state(a, HaState.PARTNER_DOWN, HaState.TERMINATED), serves_not(a)),
        after=(serves(a),),
        deadline=2.0,
        required=False,
        rescue=True,
    )


def _come_back(facts: Facts) -> tuple[Step, ...]:
    b = facts.b
    return (
        Step(
            key="standby-turn",
            # The primary is dark from the end of the standby's sync to its own next heartbeat, and both beat from when they
            # were told: sent back at this moment, the standby is ready just before the primary looks.
            title=f"wait so that {b.server} will be ready just before {facts.a.server}'s heartbeat",
            only_if=(state(b.server, HaState.WAITING, HaState.READY), state(facts.a.server, HaState.PARTNER_DOWN)),
            pause=_turn(facts),
        ),
        Step(
            key="standby-back",
            title=f"give {b.server} its own configuration back",
            order=Order(b.server, Command.CONFIG_SET, config=ConfigVariant.RECORDED),
            after=(state(b.server, *_COMING_BACK),),
            deadline=configured_within(facts),
            rest=True,
        ),
        *_through_gate(facts),
        *_together(facts),
    )


def _turn(facts: Facts) -> float:
    """Return how long after the primary's reset the standby should come back: its sync ends a moment before a heartbeat."""
    early = sync_seconds(facts) + max(0.3, 0.1 * facts.h)
    return round(facts.h - early % facts.h, 2)


def _patience(facts: Facts) -> float:
    """Return how long two servers may take to come together, in seconds."""
    return round(6 * facts.h + 2 * sync_seconds(facts) + 15.0, 1)


def _together(facts: Facts) -> tuple[Step, ...]:
    a, b = facts.a.server, facts.b.server
    normal = facts.normal
    return (
        Step(
            key="together",
            title=f"wait until both are {normal} and the right one serves",
            after=(state(a, normal), state(b, normal), serves(a), *((serves(b),) if _halves(facts) else ())),
            deadline=_patience(facts),
            closely=_halves(facts),
            rest=not _halves(facts),
        ),
        *_leave_half(facts),
    )


def _reset(diagnosis: Diagnosis, facts: Facts) -> Proposal:
    """
    Return the plan of two resets, standby first, with the bounces of stale memory waited out.

    A reset judges by what the server remembers (ha_service.cc, waitingStateHandler): the state is read after each, and a
    bounced primary gets its scopes back at once instead of a heartbeat later.
    """
    a, b = facts.a, facts.b
    obstacle = _can_reset(facts)
    if obstacle:
        return NoPlan(Strategy.RESET, obstacle)
    costs = a.state is HaState.TERMINATED
    # A primary that serves alone is switched off while its standby syncs, and until its next heartbeat.
    pause = 3 * facts.h + 2 * sync_seconds(facts) if costs else facts.h + sync_seconds(facts) if a.serves else 0.0
    return Plan(
        id=plan_id(diagnosis, facts, Strategy.RESET),
        code=diagnosis.code,
        strategy=Strategy.RESET,
        summary=(
            f"{b.server} is reset, and when it waits {a.server} is reset"
            + (
                f"; {a.server} answers no client until it is back."
                if costs
                else "; clients wait for the standby's sync and the rest of one heartbeat."
                if a.serves
                else "; it costs no service that is not lost already."
            )
        ),
        steps=(*_reset_standby(facts), *_reset_primary(facts), *_through_gate(facts), *_together(facts)),
        announced_pause=round(pause, 1),
    )


def _can_reset(facts: Facts) -> str | None:
    a, b = facts.a, facts.b
    if facts.mode is not Mode.HOT_STANDBY:
        return f"in {facts.mode} each reset takes half the clients' service at once; use cover"
    possible = {HaState.TERMINATED, HaState.WAITING}
    alone = a.state is HaState.PARTNER_DOWN and b.state is HaState.TERMINATED
    if not alone and (a.state not in possible or b.state not in possible):
        return f"{a.server} is {a.word} and {b.server} is {b.word}: one of them is still moving by itself"
    reset = [o for o in (a, b) if o.state is HaState.TERMINATED]
    missing = [o.server for o in reset if Command.HA_RESET not in o.facts.commands]
    if missing:
        return f"{' and '.join(missing)} accepts ha-reset at none of the addresses given for it"
    return None


def _reset_standby(facts: Facts) -> tuple[Step, ...]:
    b = facts.b.server
    terminated = (state(b, HaState.TERMINATED),)
    harmless = (serves_not(b),)
    waits = (state(b, *_COMING_BACK),)
    first = Step(
        key="standby-reset",
        title=f"reset {b}, which serves nobody",
        order=Order(b, Command.HA_RESET),
        only_if=terminated,
        before=(*harmless, clocks_agree(facts)),
        after=waits,
        deadline=_BOUNCE,
        required=False,
        rest=True,
    )
    hear = Step(
        key="standby-hears",
        title=f"let {b} hear its partner once, since it judged by old memory",
        only_if=terminated,
        after=(Condition(Fact.HEARD_PARTNER, b),),
        deadline=facts.h + 2.0,
        required=False,
        rest=True,
    )
    again = Step(
        key="standby-reset-again",
        title=f"reset {b} again",
        order=Order(b, Command.HA_RESET),
        only_if=terminated,
        before=harmless,
        after=waits,
        deadline=_BOUNCE,
        required=False,
        rest=True,
    )
    return (first, hear, again, _reload_standby(facts, harmless, waits))


def _reload_standby(facts: Facts, harmless: tuple[Condition, ...], waits: tuple[Condition, ...]) -> Step:
    """
    Return the step that makes a standby forget: its HA service is built anew from its running configuration.

    A partner remembered as terminated for ten minutes makes every reset bounce (Kea 2.6 and later, ha_service.cc,
    HA_WAITING_TO_TERMINATED_ST_DELAY_MINUTES). The file on disk may have been edited meanwhile, so config-reload is only the
    second choice; where neither is accepted, the step can only see that it would have been needed.
    """
    b = facts.b.server
    order, title = (
        None,
        f"see that {b} waits (it accepts neither config-set nor config-reload here, which would make it forget)",
    )
    if {Command.CONFIG_SET, "config-get"} <= facts.b.facts.commands:
        order = Order(b, Command.CONFIG_SET, config=ConfigVariant.RECORDED)
        title = f"let {b} forget: set its running configuration anew"
    elif Command.CONFIG_RELOAD in facts.b.facts.commands:
        order = Order(b, Command.CONFIG_RELOAD)
        title = f"let {b} forget: have it read its configuration again"
    deadline = configured_within(facts) if order else 1.0
    terminated = (state(b, HaState.TERMINATED),)
    before = harmless if order else ()
    return Step(
        "standby-reload", title, order, only_if=terminated, before=before, after=waits, deadline=deadline, rest=True
    )


def _reset_primary(facts: Facts) -> tuple[Step, ...]:
    a, b = facts.a.server, facts.b.server
    terminated = (state(a, HaState.TERMINATED),)
    # Never the primary while the standby is terminated: it would wait for nobody, and serve nobody.
    standby_waits = (state(b, HaState.WAITING),)
    left = (state(a, *_NOT_TERMINATED),)

    def reset(key: str, title: str) -> Step:
        order = Order(a, Command.HA_RESET)
        return Step(
            key, title, order, only_if=terminated, before=standby_waits, after=left, deadline=_BOUNCE, required=False
        )

    def hears(key: str) -> Step:
        return Step(
            key,
            f"let {a} hear {b} once, since it judged by old memory",
            only_if=terminated,
            after=(Condition(Fact.HEARD_PARTNER, a),),
            deadline=facts.h + 2.0,
            required=False,
        )

    beats = Step(
        key="standby-beats",
        title=f"see that {b} hears {a}: a clock that was set back makes its timers late, and it would leave {a} waiting",
        only_if=(*terminated, *standby_waits),
        after=(Condition(Fact.HEARS_PARTNER, b, (f"{2 * facts.h + 1:g}",)),),
        deadline=facts.h + 2.0,
        rest=True,
    )
    return (
        beats,
        reset("primary-reset", f"reset {a}"),
        scopes_step(facts, "primary-scopes"),
        hears("primary-hears"),
        reset("primary-reset-again", f"reset {a} again"),
        scopes_step(facts, "primary-scopes-again"),
        hears("primary-hears-again"),
        reset("primary-reset-third", f"reset {a} a third time"),
        scopes_step(facts, "primary-scopes-third"),
        Step("primary-left", f"see that {a} has left terminated", after=left, deadline=2.0, rest=True),
    )


def clocks_agree(facts: Facts) -> Condition:
    """Return the condition that the clocks are near enough to heal."""
    return Condition(Fact.CLOCKS_AGREE, facts.a.server, (f"{facts.policy.skew_warning:g}",))


_STRATEGIES: Mapping[Strategy, Callable[[Diagnosis, Facts], Proposal]] = {
    Strategy.SEAMLESS: _seamless,
    Strategy.COVER: _cover,
    Strategy.RESET: _reset,
}
