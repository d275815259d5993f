"""
Shows every pair to Prometheus: gauges are read from the newest views when asked for, counters are counted as things happen.

One registry of its own and no globals. What is not known has no series, so that no alert fires on a guess; a server that
is no longer in a pair loses its series. No label ever holds an address of a client.
"""

from __future__ import annotations

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from keawatch import __version__
from keawatch.core.codes import Code, Severity
from keawatch.core.comparison import Comparison, Kind
from keawatch.core.conflicts import nearness
from keawatch.core.facts import facts_of, role_of
from keawatch.core.model import HaConfig, HaState, Mode, NoAnswer, Observation, PartnerView, Role, Silence
from keawatch.core.plan import Command, Step
from keawatch.core.pools import Pool
from keawatch.core.rejects import Forecast, Why
from keawatch.core.remedies import REMEDIES
from keawatch.core.traffic import Traffic
from keawatch.daemon.loop import PairView, Watcher
from keawatch.daemon.performer import PlanOutcome, StepReport
from keawatch.daemon.shown import attempt_under_way, clock_skew, pause_in_force

Labels = tuple[str, ...]
Sample = tuple[Labels, float]
OfPair = Callable[[PairView], Iterable[Sample]]
OfServer = Callable[[PairView, Observation], Iterable[Sample]]

PAIR = ("pair", "service")
SERVER = (*PAIR, "server")

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histograms' buckets."""

RESULTS = ("ok", "failed", "refused", "interrupted")
SENT = ("done", "unmet", "refused")
"""Results of a step whose command has left."""


@dataclass(slots=True)
class Tally:
    """A counter with labels; a histogram where it has *bounds*."""

    name: str
    help: str
    labels: Labels
    values: dict[Labels, float] = field(default_factory=dict)

    def add(self, labels: Labels, amount: float = 1.0) -> None:
        """Count *amount*; 0.0 makes the series exist, without which a first increase is never seen."""
        self.values[labels] = self.values.get(labels, 0.0) + amount

    def keep(self, wanted: Callable[[Mapping[str, str]], bool]) -> None:
        """Drop every series whose labels are not *wanted*."""
        self.values = {key: v for key, v in self.values.items() if wanted(dict(zip(self.labels, key, strict=True)))}

    def family(self) -> Metric:
        """Return the counter as Prometheus reads it."""
        family = CounterMetricFamily(self.name, self.help, labels=self.labels)
        for labels, value in self.values.items():
            family.add_metric(labels, value)
        return family


@dataclass(slots=True)
class Spread:
    """A histogram of seconds with labels."""

    name: str
    help: str
    labels: Labels
    values: dict[Labels, tuple[list[int], float]] = field(default_factory=dict)
    """For each series: how many fell into each bucket, and the sum."""

    def add(self, labels: Labels, seconds: float) -> None:
        """Count one duration."""
        counts, total = self.values.get(labels, ([0] * (len(SECONDS) + 1), 0.0))
        counts[bisect_left(SECONDS, seconds)] += 1
        self.values[labels] = counts, total + max(0.0, seconds)

    def keep(self, wanted: Callable[[Mapping[str, str]], bool]) -> None:
        """Drop every series whose labels are not *wanted*."""
        self.values = {key: v for key, v in self.values.items() if wanted(dict(zip(self.labels, key, strict=True)))}

    def family(self) -> Metric:
        """Return the histogram as Prometheus reads it."""
        family = HistogramMetricFamily(self.name, self.help, labels=self.labels)
        for labels, (counts, total) in self.values.items():
            upper = [*(str(bound) for bound in SECONDS), "+Inf"]
            below = [sum(counts[: place + 1]) for place in range(len(counts))]
            family.add_metric(labels, list(zip(upper, below, strict=True)), total)
        return family


class Metrics(Watcher, Collector):
    """Counts what happens, and collects what is."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self._views: dict[str, PairView] = {}
        self._ended: dict[str, frozenset[str]] = {}
        self._last: dict[tuple[str, str], Observation] = {}
        self._polls = Spread("keawatch_poll_duration_seconds", "How long a server's answer took.", SERVER)
        self._loops = Spread("keawatch_loop_duration_seconds", "How long a round took.", PAIR)
        self._errors = Tally("keawatch_poll_errors", "Polls without a usable answer.", (*SERVER, "reason"))
        self._transitions = Tally(
            "keawatch_ha_transitions", "Changes of state that were seen.", (*SERVER, "from", "to")
        )
        self._restarts = Tally("keawatch_server_restarts", "Times a server was seen with another process id.", SERVER)
        self._healings = Tally("keawatch_healings", "Plans that have ended.", (*PAIR, "code", "trigger", "result"))
        self._pauses = Tally("keawatch_healing_service_pause_seconds", "Seconds without service during plans.", PAIR)
        self._changed = Tally("keawatch_leases_changed", "Leases written or deleted by plans.", (*PAIR, "action"))
        self._commands = Tally("keawatch_commands", "Commands sent by plans.", (*SERVER, "command", "result"))
        self.registry.register(self)

    # --- told by the loop

    def rounded(self, view: PairView) -> None:
        """Take a finished round into account."""
        if view.name not in self._views:
            self._begin(view)
        self._views[view.name] = view
        self._loops.add(_of(view), view.round_seconds)
        for seen in view.snapshot:
            self._count_poll(view, seen)
        self._count_healings(view)
        self._forget_vanished(view)

    def changed(self, view: PairView) -> None:
        """Show the newest view."""
        self._show(view)

    def stepped(self, view: PairView, step: Step, report: StepReport | None) -> None:
        """Count the command of a step that has ended, if it has left."""
        self._show(view)
        if report and report.order and step.order and report.result in SENT:
            self._commands.add((*_of(view), step.order.server, step.order.command, report.result))

    def ended(self, view: PairView, outcome: PlanOutcome) -> None:
        """Add up what a plan has cost."""
        self._show(view)
        self._pauses.add(_of(view), outcome.measured_pause)
        for report in outcome.steps:
            for action in ("written", "deleted") if report.leases else ():
                self._changed.add((*_of(view), action), float((report.leases or {})[action]))

    def _show(self, view: PairView) -> None:
        if view.name in self._views:
            self._views[view.name] = view

    def _begin(self, view: PairView) -> None:
        """Let every counter exist at zero, and take what ended before this keawatch began as counted."""
        pair = _of(view)
        self._ended[view.name] = frozenset(attempt.plan_id for attempt in view.history.attempts if attempt.result)
        self._pauses.add(pair, 0.0)
        for action in ("written", "deleted"):
            self._changed.add((*pair, action), 0.0)
        for code in REMEDIES:
            for trigger in ("auto", "operator"):
                for result in RESULTS:
                    self._healings.add((*pair, code, trigger, result), 0.0)
        self._begin_servers(view)

    def _begin_servers(self, view: PairView) -> None:
        pair = _of(view)
        for seen in view.snapshot:
            self._restarts.add((*pair, seen.server), 0.0)
            for reason in NoAnswer:
                self._errors.add((*pair, seen.server, reason), 0.0)
            for command in Command:
                for result in SENT:
                    self._commands.add((*pair, seen.server, command, result), 0.0)

    def _count_poll(self, view: PairView, seen: Observation) -> None:
        server = (*_of(view), seen.server)
        self._polls.add(server, seen.seconds)
        if isinstance(seen.answer, Silence):
            self._errors.add((*server, seen.answer.kind))
            return
        before = self._last.get((view.name, seen.server))
        self._last[view.name, seen.server] = seen
        if before is None or before.status is None:
            return
        if before.state and seen.state and before.state is not seen.state:
            self._transitions.add((*server, before.state, seen.state))
        if before.status.pid and seen.answer.pid and before.status.pid != seen.answer.pid:
            self._restarts.add(server)

    def _count_healings(self, view: PairView) -> None:
        """Count attempts that have ended since the last round: a refused one is told in no other way."""
        counted = self._ended[view.name]
        ended = [attempt for attempt in view.history.attempts if attempt.result]
        for attempt in ended:
            if attempt.plan_id not in counted and attempt.result:
                self._healings.add((*_of(view), attempt.code, attempt.by, attempt.result))
        self._ended[view.name] = frozenset(attempt.plan_id for attempt in ended)

    def _forget_vanished(self, view: PairView) -> None:
        names = {seen.server for seen in view.snapshot}
        for tally in self._tallies:
            tally.keep(lambda of: of["pair"] != view.name or "server" not in of or of["server"] in names)

    @property
    def _tallies(self) -> tuple[Tally | Spread, ...]:
        counters = (self._errors, self._transitions, self._restarts, self._healings, self._pauses)
        return (self._polls, self._loops, *counters, self._commands, self._changed)

    # --- asked by Prometheus

    def collect(self) -> Iterator[Metric]:
        """Return everything as of now."""
        build = GaugeMetricFamily("keawatch_build_info", "What runs here.", labels=("version", "python"))
        build.add_metric((__version__, platform.python_version()), 1.0)
        yield build
        for name, text, labels, of_pair in PAIR_GAUGES:
            gauge = GaugeMetricFamily(name, text, labels=(*PAIR, *labels))
            for view in self._views.values():
                for more, value in of_pair(view):
                    gauge.add_metric((*_of(view), *more), value)
            yield gauge
        for name, text, labels, of_server in SERVER_GAUGES:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(name, text, labels=(*SERVER, *labels))
            for view, seen in self._servers():
                for more, value in of_server(view, seen):
                    family.add_metric((*_of(view), seen.server, *more), value)
            yield family
        for tally in self._tallies:
            yield tally.family()

    def _servers(self) -> Iterator[tuple[PairView, Observation]]:
        for view in self._views.values():
            for seen in view.snapshot:
                yield view, seen


def _of(view: PairView) -> Labels:
    return view.name, view.service


# --- what is read of a pair


def _just(*found: float | None) -> Iterable[Sample]:
    """Return a series without labels of its own; none where nothing is known."""
    return [((), float(value)) for value in found if value is not None]


def _diagnosis_active(view: PairView) -> Iterable[Sample]:
    active = {(diagnosis.code, diagnosis.severity) for diagnosis in view.decision.all}
    quiet = {(code, severity) for code in Code for severity in _severities(code)} - active
    return [*((labels, 1.0) for labels in sorted(active)), *((labels, 0.0) for labels in sorted(quiet))]


def _severities(code: Code) -> tuple[Severity, ...]:
    """Return with which severities a diagnosis can come, so that no series must appear for an alert to fire."""
    match code:
        case Code.OK:
            return (Severity.OK,)
        case Code.SETTLING | Code.IN_MAINTENANCE | Code.GATE_HELD | Code.ADDRESS_TWICE:
            return (Severity.INFO, Severity.WARNING, Severity.CRITICAL)
        case _:
            return (Severity.WARNING, Severity.CRITICAL)


def _lease_differences(view: PairView) -> Iterable[Sample]:
    comparison = view.history.comparison
    return [((kind.value,), float(comparison.counts.get(kind, 0))) for kind in Kind] if comparison else []


def _of_comparison(view: PairView, value: Callable[[Comparison], float]) -> Iterable[Sample]:
    return _just(value(view.history.comparison) if view.history.comparison else None)


def _pools(view: PairView, value: Callable[[Pool], float | None]) -> Iterable[Sample]:
    """Return a sample for each of the fullest pools of which *value* is known."""
    told = [(pool.use, value(pool)) for pool in view.history.pools]
    return [((str(use.subnet), use.kind), known) for use, known in told if known is not None]


def _upkeep(view: PairView) -> Iterable[Sample]:
    return _just(datetime.fromisoformat(view.upkeep["at"]).timestamp() if view.upkeep else None)


def _diagnosis_since(view: PairView) -> Iterable[Sample]:
    return [((diagnosis.code,), diagnosis.since.timestamp()) for diagnosis in view.decision.all]


def _pause_expires(view: PairView) -> Iterable[Sample]:
    pause = pause_in_force(view)
    return _just(pause.until.timestamp() if pause and pause.until else None)


def _journal_ok(view: PairView) -> float:
    # The loop tells every trouble in one place; those of the journal are said by the journal, and begin so.
    return float(not (view.trouble or "").startswith("the journal "))


PAIR_GAUGES: tuple[tuple[str, str, Labels, OfPair], ...] = (
    (
        "keawatch_pair_info",
        "The pair as it is configured.",
        ("mode", "autonomy"),
        lambda view: [((view.decision.mode, view.policy.autonomy), 1.0)],
    ),
    (
        "keawatch_pair_serving",
        "1 while somebody is seen serving every scope.",
        (),
        lambda view: _just(view.decision.serving),
    ),
    (
        "keawatch_pair_redundant",
        "1 while the loss of either server would be survived.",
        (),
        lambda view: _just(view.decision.redundant),
    ),
    (
        "keawatch_diagnosis_active",
        "1 for every diagnosis that holds now.",
        ("code", "severity"),
        _diagnosis_active,
    ),
    ("keawatch_diagnosis_since_timestamp_seconds", "Since when a diagnosis holds.", ("code",), _diagnosis_since),
    (
        "keawatch_healing_in_progress",
        "1 while a plan is carried out.",
        (),
        lambda view: _just(attempt_under_way(view) is not None),
    ),
    (
        "keawatch_healing_held_back",
        "1 while there is a plan that a guard holds back.",
        (),
        lambda view: _just(view.decision.plan is not None and not view.decision.act),
    ),
    (
        "keawatch_paused",
        "1 while keawatch is paused and only watches.",
        (),
        lambda view: _just(pause_in_force(view) is not None),
    ),
    ("keawatch_pause_expires_timestamp_seconds", "When the pause runs out.", (), _pause_expires),
    (
        "keawatch_trouble",
        "1 while keawatch itself can't act; the log and the status say why.",
        (),
        lambda view: _just(view.trouble is not None),
    ),
    (
        "keawatch_lease_differences",
        "Leases about which the servers differed at the last full comparison.",
        ("kind",),
        _lease_differences,
    ),
    (
        "keawatch_lease_comparison_timestamp_seconds",
        "When the databases were last compared.",
        (),
        lambda view: _of_comparison(view, lambda comparison: comparison.at.timestamp()),
    ),
    (
        "keawatch_lease_comparison_duration_seconds",
        "How long that took.",
        (),
        lambda view: _of_comparison(view, lambda comparison: comparison.seconds),
    ),
    (
        "keawatch_lease_comparison_suspicious",
        "1 when a database looks as if it had lost leases; nothing is changed then.",
        (),
        lambda view: _of_comparison(view, lambda comparison: float(comparison.suspicious is not None)),
    ),
    (
        "keawatch_pool_used_ratio",
        "The part of a subnet's addresses or prefixes that is leased; of the twenty fullest, from half full on.",
        ("subnet", "kind"),
        lambda view: _pools(view, lambda pool: pool.used),
    ),
    (
        "keawatch_pool_full_timestamp_seconds",
        "When the last one is gone at the last hour's rate; no series where it is not rising, or not within a day.",
        ("subnet", "kind"),
        lambda view: _pools(view, lambda pool: pool.full_at.timestamp() if pool.full_at else None),
    ),
    (
        "keawatch_randomised_leases_ratio",
        "The part of the leases that are of locally administered hardware addresses, at the last full comparison.",
        (),
        lambda view: _just(view.history.comparison.randomised_share if view.history.comparison else None),
    ),
    (
        "keawatch_addresses_with_two_owners",
        "Addresses that two clients were given, until the losing client's lease runs out.",
        (),
        lambda view: _just(sum(rival.until > view.history.now for rival in view.history.rivals)),
    ),
    (
        "keawatch_upkeep_last_success_timestamp_seconds",
        "When the scheduled reclaim, compare and reconcile last ended well.",
        (),
        _upkeep,
    ),
    ("keawatch_journal_ok", "1 while the journal can be written.", (), lambda view: _just(_journal_ok(view))),
    (
        "keawatch_last_loop_timestamp_seconds",
        "When the pair was last looked at.",
        (),
        lambda view: _just(view.snapshot.taken_at.timestamp()),
    ),
)


# --- what is read of a server


def _leases_compared(view: PairView, seen: Observation) -> Iterable[Sample]:
    comparison = view.history.comparison
    return _just(comparison.compared.get(seen.server) if comparison else None)


def _server_info(view: PairView, seen: Observation) -> Iterable[Sample]:
    role = role_of(seen, view.snapshot.partner_of(seen.server))
    return [((role or "unknown", seen.facts.version or "unknown"), 1.0)]


def _ha_state(_: PairView, seen: Observation) -> Iterable[Sample]:
    state = HaState.UNAVAILABLE if seen.status is None else seen.state
    return _one_hot(state)


def _one_hot(present: HaState | None) -> Iterable[Sample]:
    return [((state,), float(state is present)) for state in HaState]


def _ha_state_since(view: PairView, seen: Observation) -> Iterable[Sample]:
    spells = view.history.spells_of(seen.server)
    return _just(spells[-1].since.timestamp() if spells else None)


def _ha_serving(view: PairView, seen: Observation) -> Iterable[Sample]:
    scopes = sorted({*_scopes(view), *seen.scopes})
    return [((scope,), float(seen.serves and scope in seen.scopes)) for scope in scopes]


def _scopes(view: PairView) -> set[str]:
    """Return every scope of the pair, so that a scope nobody serves is a zero and no gap."""
    reported = {scope for seen in view.snapshot for scope in seen.scopes}
    config = next((seen.facts.ha for seen in view.snapshot if seen.facts.ha), None)
    return reported | (_scopes_of(config) if config else set())


def _scopes_of(config: HaConfig) -> set[str]:
    # A scope bears the name of the server it belongs to (query_filter.cc): a standby and a backup own none.
    owners = {Role.PRIMARY, Role.SECONDARY} if config.mode is Mode.LOAD_BALANCING else {Role.PRIMARY}
    return {peer.name for peer in config.peers if peer.role in owners}


def _conflicts(view: PairView, seen: Observation) -> Iterable[Sample]:
    """Return the conflicts of each kind that the logs told of, zeros included, where a log is read."""
    if not view.history.log_sources:
        return ()
    seen_of = {tally.why: tally.conflicts for tally in view.history.rejects.tallies if tally.server == seen.server}
    return [((why.value,), float(seen_of.get(why, 0))) for why in Why]


def _log_up(view: PairView, seen: Observation) -> Iterable[Sample]:
    source = view.history.log_of(seen.server)
    return _just(float(source.up) if source else None)


def _log_heard(view: PairView, seen: Observation) -> Iterable[Sample]:
    source = view.history.log_of(seen.server)
    return _just(source.heard_at.timestamp() if source and source.heard_at else None)


def _nearness(value: Callable[[Forecast], float | None]) -> OfServer:
    """Return a reader of one number in how near a server is to its limit, where a log is read."""

    def read(view: PairView, seen: Observation) -> Iterable[Sample]:
        if not any(source.up for source in view.history.log_sources):
            return ()
        return _just(value(nearness(facts_of(view.history, view.policy), seen)))

    return read


def _traffic(value: Callable[[Traffic], float]) -> OfServer:
    """Return a reader of one packet counter, where Kea tells it."""
    return lambda _, seen: _just(value(seen.facts.traffic) if seen.facts.traffic else None)


def _unanswered(view: PairView, seen: Observation) -> Iterable[Sample]:
    known = view.history.answering_of(seen.server)
    return _just(float(known.unanswered) if known else None)


def _clock_skew(view: PairView, seen: Observation) -> Iterable[Sample]:
    ours = clock_skew(view.snapshot, seen.server)
    if ours is not None:
        yield ("heartbeat",), ours
    if seen.partner and seen.partner.clock_skew is not None:
        # Kea tells partner minus server.
        yield ("kea",), -seen.partner.clock_skew + 0.0


def _partner(value: Callable[[PartnerView], float | None]) -> OfServer:
    """Return a reader of one number in what a server believes of its partner."""
    return lambda _, seen: _just(value(seen.partner) if seen.partner else None)


def _status(value: Callable[[Observation], float | None]) -> OfServer:
    """Return a reader of one number in a server's answer."""
    return lambda _, seen: _just(value(seen) if seen.status else None)


SERVER_GAUGES: tuple[tuple[str, str, Labels, OfServer], ...] = (
    ("keawatch_server_info", "The server as it tells of itself.", ("role", "kea_version"), _server_info),
    ("keawatch_leases_compared", "Leases read at the last full comparison.", (), _leases_compared),
    ("keawatch_up", "1 when the last poll was answered.", (), lambda _, seen: _just(seen.status is not None)),
    (
        "keawatch_last_poll_timestamp_seconds",
        "When the last poll ended, answered or not.",
        (),
        lambda _, seen: _just(seen.at.timestamp()),
    ),
    (
        "keawatch_server_uptime_seconds",
        "Seconds since the server was started.",
        (),
        _status(lambda seen: seen.status.uptime if seen.status else None),
    ),
    ("keawatch_ha_state", "1 for the server's HA state; unavailable when it gives no answer.", ("state",), _ha_state),
    (
        "keawatch_ha_state_since_timestamp_seconds",
        "Since when the server is seen as it is.",
        (),
        _ha_state_since,
    ),
    ("keawatch_ha_serving", "1 when the server is known to serve the scope.", ("scope",), _ha_serving),
    (
        "keawatch_dhcp_service_enabled",
        "0 when some origin has switched DHCP off; Kea 2.6.2 and later.",
        (),
        _status(lambda seen: float(not seen.status.switched_off) if seen.status and seen.status.dhcp else None),
    ),
    (
        "keawatch_ha_partner_view",
        "1 for the state the server believes its partner to be in.",
        ("state",),
        lambda _, seen: _one_hot(seen.partner.state) if seen.partner else (),
    ),
    (
        "keawatch_ha_partner_view_age_seconds",
        "Seconds since the server last heard its partner.",
        (),
        _partner(lambda view: view.age if view.in_touch else None),
    ),
    (
        "keawatch_ha_communication_interrupted",
        "1 when the server says it has lost its partner.",
        (),
        _partner(lambda view: view.communication_interrupted),
    ),
    (
        "keawatch_ha_connecting_clients",
        "Clients that asked the partner since it was lost.",
        (),
        _partner(lambda view: view.connecting_clients),
    ),
    (
        "keawatch_ha_unacked_clients",
        "Clients that the partner has left without an answer.",
        (),
        _partner(lambda view: view.unacked_clients),
    ),
    (
        "keawatch_ha_unacked_clients_left",
        "Clients still to be left unanswered before the partner counts as down.",
        (),
        _partner(lambda view: view.unacked_clients_left),
    ),
    (
        "keawatch_ha_analyzed_packets",
        "Packets to the partner that were looked at since it was lost.",
        (),
        _partner(lambda view: view.analyzed_packets),
    ),
    (
        "keawatch_ha_unsent_updates_total",
        "Lease updates that the server could not send to its partner.",
        (),
        _status(lambda seen: seen.status.unsent_updates if seen.status else None),
    ),
    (
        "keawatch_lease_update_conflicts_total",
        "Lease updates of this server that its partner refused as conflicts, by the logs.",
        ("kind",),
        _conflicts,
    ),
    ("keawatch_log_up", "1 while the server's log is read, where one is to be.", (), _log_up),
    (
        "keawatch_log_heard_timestamp_seconds",
        "When a line of that Kea was last read in its log.",
        (),
        _log_heard,
    ),
    (
        "keawatch_rejected_clients",
        "Clients that count towards max-rejected-lease-updates, by the logs.",
        (),
        _nearness(lambda near: float(near.count)),
    ),
    (
        "keawatch_rejected_clients_limit",
        "max-rejected-lease-updates, at which HA is terminated.",
        (),
        _nearness(lambda near: None if near.limit is None else float(near.limit)),
    ),
    (
        "keawatch_rejected_clients_full_timestamp_seconds",
        "When the limit is reached at the present rate; none when it is not within a day.",
        (),
        _nearness(lambda near: near.full_at.timestamp() if near.full_at else None),
    ),
    (
        "keawatch_dhcp_requests",
        "Requests for a lease that the server has read since it was started.",
        (),
        _traffic(lambda traffic: float(traffic.requests)),
    ),
    (
        "keawatch_dhcp_answers",
        "Acknowledgements and refusals that the server has sent since it was started.",
        (),
        _traffic(lambda traffic: float(traffic.answers)),
    ),
    ("keawatch_dhcp_unanswered_requests", "Requests read since the last answer was sent.", (), _unanswered),
    ("keawatch_clock_skew_seconds", "The server's clock minus its partner's.", ("source",), _clock_skew),
    (
        "keawatch_leases",
        "Leases by state.",
        ("state",),
        lambda _, seen: [] if seen.facts.leases is None else [(("assigned",), float(seen.facts.leases))],
    ),
)
