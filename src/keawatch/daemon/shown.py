"""
Makes the JSON that other programs may rely on (DESIGN.md section 4) of what a pair's loop knows.

Pure: the API, the command line and the status page show the same values, and so the same words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from keawatch.core.backups import unwatched
from keawatch.core.codes import Diagnosis
from keawatch.core.comparison import Comparison, Fate, Kind
from keawatch.core.conflicts import counted, nearness
from keawatch.core.decision import Decision
from keawatch.core.facts import facts_of, role_of
from keawatch.core.model import Attempt, BackupServer, Observation, Pause, ServerStatus, Silence, Snapshot
from keawatch.core.plan import Plan
from keawatch.core.pools import Pool
from keawatch.core.rejects import by_subnet, top
from keawatch.core.watchful import comparison_wanted
from keawatch.daemon.journal import Entry
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.loop import PairView
from keawatch.daemon.performer import PlanOutcome
from keawatch.daemon.record import LOOKED_AT
from keawatch.leases.undo import Undone

Json = dict[str, Any]

SHORTEST_PAUSE, LONGEST_PAUSE = timedelta(milliseconds=1), timedelta(days=366)
"""What a pause with an end may take; what is not within is a slip of the keyboard."""


def status(views: Iterable[PairView]) -> Json:
    """Return the document of ``status --json``."""
    return {"pairs": [pair(view) for view in views]}


def pair(view: PairView) -> Json:
    """Return one pair as it stands."""
    decision = view.decision
    return {
        "name": view.name,
        "service": view.service,
        "mode": decision.mode.value,
        "autonomy": view.policy.autonomy.value,
        "serving": decision.serving,
        "redundant": decision.redundant,
        "diagnosis": _diagnosis(decision.diagnosis),
        "also": [_diagnosis(diagnosis) for diagnosis in decision.also],
        "plan": _plan_shown(view),
        "withheld": jsonable(decision.withheld),
        "paused": paused(pause_in_force(view)),
        "last_outcome": outcome(view.outcome) if view.outcome else None,
        "trouble": view.trouble,
        "leases": _leases(view),
        "seen_at": jsonable(view.snapshot.taken_at),
        "servers": [_server(view, observation) for observation in view.snapshot],
        "backups": _backups(view),
    }


def _backups(view: PairView) -> list[Json]:
    """Return the pair's backup servers, also those that are only known by name because keawatch is not to watch them."""
    watched = [_backup(view, backup) for backup in view.history.backups]
    unknown = unwatched(facts_of(view.history, view.policy))
    return watched + [{"name": name, "watched": False} for name in unknown]


def _backup(view: PairView, backup: BackupServer) -> Json:
    seen, comparison = backup.seen, backup.comparison
    found = diff(view.name, comparison) if comparison else None
    if found:
        del found["rivals"]
    return {
        "name": backup.server,
        "watched": True,
        "state": seen.state.value if seen.state else None,
        "answer": seen.answer.kind.value if isinstance(seen.answer, Silence) else "ok",
        "kea_version": seen.facts.version,
        "leases": seen.facts.leases,
        "since": jsonable(backup.since),
        "comparison": found,
        "comparing": backup.comparing,
        "counts_apart": backup.counts_apart,
    }


def _leases(view: PairView) -> Json:
    """Return what is known of the two databases."""
    history = view.history
    comparison = diff(view.name, history.comparison) if history.comparison else None
    if comparison:
        comparison["rivals"] = len(comparison["rivals"])
    return {
        "comparison": comparison,
        "comparing": history.comparing,
        "compare_because": comparison_wanted(history, view.policy),
        "upkeep_due": jsonable(history.upkeep_due),
        "upkeep": view.upkeep,
        "rivals": jsonable(history.rivals),
        "pools": [_pool(pool) for pool in history.pools],
    }


def _pool(pool: Pool) -> Json:
    """Return one of the fullest pools, with its forecast."""
    return {
        **jsonable(pool.use),
        "used": round(pool.used, 4),
        "per_hour": None if pool.per_hour is None else round(pool.per_hour, 2),
        "full_at": jsonable(pool.full_at),
        "at": jsonable(pool.at),
    }


def operator_plan(view: PairView, decision: Decision) -> Json:
    """Return a pair with the plan that a person who asks for healing now would get."""
    return pair(replace(view, decision=decision))


def outcome(ended: PlanOutcome) -> Json:
    """Return the document of ``heal --json``; an interrupted plan did not reach its end, and so has failed."""
    return {
        "plan_id": ended.plan.id,
        "result": "failed" if ended.result == "interrupted" else ended.result,
        "code": ended.plan.code,
        "strategy": ended.plan.strategy,
        "reason": ended.reason,
        "steps": [jsonable(report) for report in ended.steps],
        "announced_pause": ended.plan.announced_pause,
        "measured_pause": ended.measured_pause,
        "started_at": jsonable(ended.started_at),
        "ended_at": jsonable(ended.ended_at),
        **_leases_changed(ended),
    }


def _leases_changed(ended: PlanOutcome) -> Json:
    """Return what a plan's work on leases did; a plan has at most one such step."""
    done = next((report.leases for report in ended.steps if report.leases), {})
    return {"written": done.get("written", 0), "deleted": done.get("deleted", 0), "run": done.get("run")}


def nothing_done(reason: str) -> Json:
    """Return the document of ``reconcile --json`` when there was nothing to do."""
    return {
        "plan_id": None,
        "result": "ok",
        "code": None,
        "strategy": None,
        "reason": reason,
        "steps": [],
        "announced_pause": 0.0,
        "measured_pause": 0.0,
        "written": 0,
        "deleted": 0,
        "run": None,
    }


def diff(name: str, comparison: Comparison) -> Json:
    """Return the document of ``diff --json``; what is missing is missing on the server whose word does not count."""
    return {
        "pair": name,
        "authority": comparison.authority,
        "compared": dict(comparison.compared),
        **{kind.value: comparison.counts.get(kind, 0) for kind in Kind},
        "settled": comparison.settled,
        "suspicious": comparison.suspicious,
        "hw_addresses": comparison.hw_addresses,
        "randomised": comparison.randomised,
        "strays": list(comparison.strays),
        "fates": {fate.value: comparison.fates.get(fate, 0) for fate in Fate},
        "examples": jsonable(comparison.examples),
        "rivals": jsonable(comparison.rivals),
        "seconds": comparison.seconds,
        "at": jsonable(comparison.at),
        "why": comparison.why,
    }


def undone(view: PairView, run_id: str, run: str | None, done: Undone) -> Json:
    """Return the document of ``undo --json``."""
    return {
        "pair": view.name,
        "paused": paused(view.history.pause),
        "undone": run_id,
        "run": run,
        "restored": done.restored,
        "as_before": done.as_before,
        "left": done.left,
        "refused": [f"{refusal.change.address}: {refusal.reason}" for refusal in done.refused],
    }


def paused(pause: Pause | None) -> Json | None:
    """Return a pause, or None where there is none."""
    return None if pause is None else dict(jsonable(pause))


def pause_in_force(view: PairView) -> Pause | None:
    """Return the pause that holds at the newest look; one that has run out does not."""
    pause = view.history.pause
    return pause if pause and (pause.until is None or pause.until > view.history.now) else None


def attempt_under_way(view: PairView) -> Attempt | None:
    """Return the attempt that is being carried out, or None."""
    # Only the newest can be: an older one without an end was cut off by the death of a keawatch.
    newest = view.history.attempts[-1] if view.history.attempts else None
    return newest if newest and newest.ended_at is None else None


def plan_json(plan: Plan) -> Json:
    """Return a plan without what only the performer needs."""
    return {
        "id": plan.id,
        "strategy": plan.strategy,
        "code": plan.code,
        "summary": plan.summary,
        "announced_pause": plan.announced_pause,
        "steps": [
            {"key": step.key, "title": step.title, "order": str(step.order or step.work or "") or None}
            for step in plan.steps
        ],
    }


def _plan_shown(view: PairView) -> Json | None:
    plan = view.decision.plan
    if view.under_way:
        return {**plan_json(view.under_way), "act": True, "under_way": True, "step": view.step}
    if plan is None:
        return None
    return {**plan_json(plan), "act": view.decision.act, "under_way": False, "step": None}


def _by(by: str) -> str:
    return "keawatch itself" if by == "auto" else f"the {by}"


def _diagnosis(diagnosis: Diagnosis) -> Json:
    return dict(jsonable(diagnosis))


def _server(view: PairView, seen: Observation) -> Json:
    snapshot = view.snapshot
    role = role_of(seen, snapshot.partner_of(seen.server))
    return {
        "name": seen.server,
        "role": role.value if role else None,
        "state": seen.state.value if seen.state else None,
        "serving": seen.serves,
        "answer": seen.answer.kind.value if isinstance(seen.answer, Silence) else "ok",
        "dead": isinstance(seen.answer, Silence) and seen.answer.daemon_dead,
        "kea_version": seen.facts.version,
        "clock_skew": clock_skew(snapshot, seen.server),
        "leases": seen.facts.leases,
        "scopes": list(seen.scopes),
        "dhcp": _dhcp(seen),
        "addresses": list(seen.facts.addresses),
        "rejected": _rejected(view, seen),
        "log": _log(view, seen),
        "note": seen.answer.note if isinstance(seen.answer, ServerStatus) else seen.answer.detail or None,
    }


def _rejected(view: PairView, seen: Observation) -> Json | None:
    """Return how many clients this server counts as rejected, and of what limit; None where neither log is read."""
    if not any(source.up for source in view.history.log_sources):
        return None
    facts = facts_of(view.history, view.policy)
    near, clients = nearness(facts, seen), counted(facts, seen)
    return {
        "clients": near.count,
        "sure": near.sure,
        "limit": near.limit,
        "per_minute": None if near.per_minute is None else round(near.per_minute, 3),
        "full_at": jsonable(near.full_at),
        "causes": dict(Counter(client.why.value for client in clients)),
        "by_subnet": dict(by_subnet(clients)),
        "top": [
            {
                "client": client.client,
                "address": client.address,
                "cause": client.why.value,
                "times": client.times,
                "last_at": jsonable(client.last_at),
            }
            for client in top(clients)
        ],
    }


def _log(view: PairView, seen: Observation) -> Json | None:
    """Return how this server's log is as a source; None where none is read."""
    source = view.history.log_of(seen.server)
    if source is None:
        return None
    told = {"where": source.where, "up": source.up, "why": source.why}
    return told | {"since": jsonable(source.since), "heard_at": jsonable(source.heard_at)}


def clock_skew(snapshot: Snapshot, server: str) -> float | None:
    """Return *server*'s clock minus its partner's in seconds, or None where either is unknown."""
    skew = snapshot.clock_skew
    if skew is None:
        return None
    # "+ 0.0" turns -0.0 into 0.0.
    return round(skew if snapshot.second.server == server else -skew, 1) + 0.0


def _dhcp(seen: Observation) -> Json | None:
    """Return whether DHCP is switched on and which origins have switched it off; None where Kea does not tell."""
    if seen.status is None or seen.status.dhcp is None:
        return None
    return {"enabled": not seen.status.switched_off, "switched_off_by": list(seen.origins)}


# --- the journal, in words


def history(entries: Iterable[Entry]) -> Json:
    """Return the document of ``history --json``."""
    return {"entries": [_entry(entry) for entry in entries]}


def _entry(entry: Entry) -> Json:
    return {
        "number": entry.number,
        "at": jsonable(entry.at),
        "pair": entry.pair,
        "kind": entry.kind,
        "plan": entry.plan,
        "text": _text(entry),
        # What was looked at is for replay, which reads the journal itself; here it would bury the rest.
        "body": {key: value for key, value in entry.body.items() if key not in LOOKED_AT},
    }


def _text(entry: Entry) -> str:
    words = _WORDS.get(entry.kind)
    try:
        text = words(entry.body) if words else ""
    except (AttributeError, KeyError, TypeError, ValueError):
        # Another version of keawatch may have written it; an entry that can't be read must not hide the others.
        text = ""
    return text or ", ".join(
        f"{key}={value}" for key, value in entry.body.items() if not isinstance(value, dict | list)
    )


def _diagnosis_words(body: Mapping[str, Any]) -> str:
    found = body["decision"]["diagnosis"]
    seen = [f"{server['server']} {_word(server['answer'])}" for server in _both(body.get("snapshot"))]
    return f"{found['code']}: {found['sentence']}" + (f" [{', '.join(seen)}]" if seen else "")


def _both(snapshot: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    return [snapshot["first"], snapshot["second"]] if snapshot else []


def _word(answer: Mapping[str, Any]) -> str:
    """Return what ``Observation.word`` was."""
    if "kind" in answer:
        return str(answer["kind"])
    return str(answer["ha"]["state"]) if answer["ha"] else "no-ha"


def _plan_words(body: Mapping[str, Any]) -> str:
    plan = body["plan"]
    return f"{plan['strategy']} against {plan['code']}, by {_by(body.get('by', 'auto'))}: {plan['summary']}"


def _done_words(body: Mapping[str, Any]) -> str:
    heard = body.get("seen") or body.get("reply")
    return f"{body['title']}: {body['result']} after {body['seconds']:.1f} s" + (f" ({heard})" if heard else "")


def _end_words(body: Mapping[str, Any]) -> str:
    return f"{body['result']}: {body['reason']}; {body['measured_pause']:.1f} s without service"


def _compared_words(body: Mapping[str, Any]) -> str:
    found = body["comparison"]
    counts = ", ".join(f"{count} {kind}" for kind, count in found["counts"].items()) or "no difference"
    read = ", ".join(f"{server} {count}" for server, count in found["compared"].items())
    return f"{found['why']}: {counts} [{read}] in {found['seconds']:.1f} s" + (
        f"; {found['suspicious']}" if found["suspicious"] else ""
    )


def _pause_words(body: Mapping[str, Any]) -> str:
    until = f"until {body['until'][:16].replace('T', ' ')} UTC" if body["until"] else "until resumed"
    return f"by {body['owner']}, {until}" + (f": {body['reason']}" if body["reason"] else "")


_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "diagnosis": _diagnosis_words,
    "plan": _plan_words,
    "step": lambda body: f"sends {body['order']}",
    "done": _done_words,
    "undone": lambda body: f"puts back: {body['order']}",
    "end": _end_words,
    "pause": _pause_words,
    "resume": lambda _: "healing goes on as autonomy says",
    "compared": _compared_words,
    "upkeep": lambda body: f"{body['result']}: {body['reason']}",
    "undo": lambda body: (
        f"{body['undone']}: {body['restored']} leases put back, {len(body['left'])} left as they are now"
    ),
    "ack": lambda body: f"the breaker was acknowledged by {body['owner']}",
}
