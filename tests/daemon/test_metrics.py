"""Prometheus is told what is known, and nothing that is not."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from keawatch.core.codes import Code
from keawatch.core.comparison import Comparison, Kind
from keawatch.core.logged import Logged, LogKind, LogSource
from keawatch.core.model import Attempt, HaState, NoAnswer, Observation, Pause, ServerStatus
from keawatch.core.policy import Autonomy, Policy
from keawatch.core.pools import Pool, PoolUse
from keawatch.core.traffic import Answering, Traffic
from keawatch.daemon.loop import PairView
from keawatch.daemon.metrics import Metrics
from keawatch.daemon.performer import StepReport
from tests.builders import PLAN, answering, at, healthy, outcome, silent, snapshot, view
from tests.untested import not_tested

RULES = Path(__file__).parents[2] / "alerts" / "keawatch.rules.yml"


def after(*views: PairView) -> Metrics:
    metrics = Metrics()
    for one in views:
        metrics.rounded(one)
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    pair = {} if name == "keawatch_build_info" else {"pair": "lan", "service": "dhcp4"}
    return metrics.registry.get_sample_value(name, {**pair, **labels})


def restarted(seen: Observation, pid: int) -> Observation:
    assert isinstance(seen.answer, ServerStatus)
    return replace(seen, answer=replace(seen.answer, pid=pid))


def everything() -> Metrics:
    """Return metrics in which every family has at least one sample."""
    sick = [snapshot(HaState.TERMINATED, HaState.TERMINATED, seconds=s) for s in (0, 2)]
    metrics = after(
        view(healthy(), pause=Pause(at(), at(600), "upgrade", "eva")),
        followed(view(healthy(), *sick, pause=Pause(at(), at(600), "upgrade", "eva"))),
    )
    step = PLAN.steps[0]
    metrics.stepped(view(*sick), step, StepReport(step.key, step.title, "b: ha-reset", "done"))
    metrics.ended(compared(followed(view(*sick, pause=Pause(at(), at(600), "upgrade", "eva")))), outcome())
    return metrics


def followed(seen: PairView) -> PairView:
    """Return a view of a pair whose log is read."""
    return replace(
        seen, history=replace(seen.history, log_sources=(LogSource("a", "/var/log/kea.log", heard_at=at(3)),))
    )


def compared(seen: PairView) -> PairView:
    """Return a view whose leases were compared, and whose upkeep has ended well."""
    comparison = Comparison(at(), "a person asked", "a", {"a": 1200, "b": 1199}, {Kind.MISSING: 1}, seconds=0.5)
    upkeep = {"result": "ok", "reason": "done", "due": at().isoformat(), "at": at().isoformat()}
    comparison = replace(comparison, hw_addresses=1200, randomised=300)
    pools = (Pool(PoolUse(1, "addresses", 250, 200), at(3600), ((at(), 175),)),)
    return replace(seen, history=replace(seen.history, comparison=comparison, pools=pools), upkeep=upkeep)


def stormy() -> PairView:
    """Return a pair whose logs told of four refused updates, and whose packets are counted."""
    events = [
        Logged(
            at(n), "a", LogKind.HA_LEASE_UPDATE_CONFLICT, client=f"02:{n}", address=f"10.0.0.{n}", reason="ResourceBusy"
        )
        for n in range(4)
    ]
    heard = view().history.heard(events, (LogSource("a", "/var/log/kea.log"),))
    counted = Answering("a", Traffic(at(), 90, 40, 31), 9, at(), at())
    return replace(view(), history=replace(heard, answering=(counted,)))


def test_full_pools_and_what_fills_them() -> None:
    metrics = after(compared(view()))

    assert value(metrics, "keawatch_pool_used_ratio", subnet="1", kind="addresses") == 0.8
    assert value(metrics, "keawatch_pool_full_timestamp_seconds", subnet="1", kind="addresses") == at(10800).timestamp()
    assert value(metrics, "keawatch_randomised_leases_ratio") == 0.25


def test_of_a_pool_that_does_not_fill_no_end_is_told() -> None:
    seen = compared(view())
    [pool] = seen.history.pools
    still = replace(pool, earlier=((at(), 200),))

    metrics = after(replace(seen, history=replace(seen.history, pools=(still,), comparison=None)))

    assert value(metrics, "keawatch_pool_used_ratio", subnet="1", kind="addresses") == 0.8
    assert value(metrics, "keawatch_pool_full_timestamp_seconds", subnet="1", kind="addresses") is None
    assert value(metrics, "keawatch_randomised_leases_ratio") is None


def test_a_storm_is_counted() -> None:
    metrics = after(stormy())

    assert value(metrics, "keawatch_lease_update_conflicts_total", server="a", kind="busy") == 4
    assert value(metrics, "keawatch_lease_update_conflicts_total", server="a", kind="subnet") == 0
    assert value(metrics, "keawatch_rejected_clients", server="a") == 4
    assert value(metrics, "keawatch_rejected_clients", server="b") == 0
    assert value(metrics, "keawatch_rejected_clients_limit", server="a") == 10
    assert value(metrics, "keawatch_dhcp_unanswered_requests", server="a") == 9


def test_a_log_is_up_or_not() -> None:
    metrics = after(stormy())
    assert value(metrics, "keawatch_log_up", server="a") == 1
    assert value(metrics, "keawatch_log_up", server="b") is None
    assert value(metrics, "keawatch_log_heard_timestamp_seconds", server="a") is None

    lost = LogSource("a", "/var/log/kea.log", up=False, why="it does not exist", heard_at=at(5))
    metrics = after(replace(stormy(), history=replace(stormy().history, log_sources=(lost,))))
    assert value(metrics, "keawatch_log_up", server="a") == 0
    assert value(metrics, "keawatch_log_heard_timestamp_seconds", server="a") == at(5).timestamp()


def test_without_a_log_nothing_is_said_of_rejected_clients() -> None:
    metrics = after(view())

    assert value(metrics, "keawatch_rejected_clients", server="a") is None
    assert value(metrics, "keawatch_lease_update_conflicts_total", server="a", kind="busy") is None


def test_healthy_pair() -> None:
    metrics = after(view())

    assert value(metrics, "keawatch_pair_redundant") == 1
    assert value(metrics, "keawatch_pair_serving") == 1
    assert value(metrics, "keawatch_up", server="a") == 1
    assert value(metrics, "keawatch_diagnosis_active", code="OK", severity="ok") == 1
    assert value(metrics, "keawatch_leases", server="b", state="assigned") == 1200
    assert value(metrics, "keawatch_dhcp_service_enabled", server="a") == 1
    assert value(metrics, "keawatch_last_loop_timestamp_seconds") == at().timestamp()
    assert value(metrics, "keawatch_pair_info", mode="hot-standby", autonomy="auto") == 1
    assert value(metrics, "keawatch_server_info", server="b", role="standby", kea_version="2.6.3") == 1


def test_state_is_one_hot() -> None:
    metrics = after(view(snapshot(HaState.TERMINATED, HaState.WAITING)))

    states = {state: value(metrics, "keawatch_ha_state", server="a", state=state) for state in HaState}

    assert {state for state, number in states.items() if number} == {HaState.TERMINATED}
    assert None not in states.values()


def test_server_without_an_answer_is_unavailable_and_nothing_is_guessed_of_it() -> None:
    metrics = after(view(healthy()), view(healthy(), snapshot(HaState.PARTNER_DOWN, silent("b"), seconds=2)))

    assert value(metrics, "keawatch_up", server="b") == 0
    assert value(metrics, "keawatch_ha_state", server="b", state="unavailable") == 1
    assert value(metrics, "keawatch_ha_state", server="b", state="hot-standby") == 0
    assert value(metrics, "keawatch_poll_errors_total", server="b", reason="timeout") == 1
    for name in (
        "keawatch_dhcp_service_enabled",
        "keawatch_ha_communication_interrupted",
        "keawatch_ha_unacked_clients",
    ):
        assert value(metrics, name, server="b") is None
    assert value(metrics, "keawatch_clock_skew_seconds", server="b", source="heartbeat") is None


def test_scope_that_nobody_serves_is_a_zero_and_no_gap() -> None:
    metrics = after(view(snapshot(HaState.WAITING, HaState.WAITING)))

    assert value(metrics, "keawatch_ha_serving", server="a", scope="a") == 0
    assert value(metrics, "keawatch_ha_serving", server="b", scope="a") == 0


def test_server_that_is_switched_off_serves_no_scope() -> None:
    off = answering("a", HaState.HOT_STANDBY, off=True)

    metrics = after(view(snapshot(off, HaState.HOT_STANDBY)))

    assert value(metrics, "keawatch_ha_serving", server="a", scope="a") == 0
    assert value(metrics, "keawatch_dhcp_service_enabled", server="a") == 0


def test_clock_skew_has_the_sign_of_the_server_that_is_ahead() -> None:
    metrics = after(view(snapshot(HaState.HOT_STANDBY, answering("b", HaState.HOT_STANDBY, ahead=40))))

    assert value(metrics, "keawatch_clock_skew_seconds", server="b", source="heartbeat") == 40
    assert value(metrics, "keawatch_clock_skew_seconds", server="a", source="heartbeat") == -40


def test_every_diagnosis_can_be_alerted_on_before_it_comes() -> None:
    metrics = after(view())

    for code in set(Code) - {Code.OK}:
        assert value(metrics, "keawatch_diagnosis_active", code=code, severity="critical") == 0


def test_pair_that_is_sick_says_which_way_and_since_when() -> None:
    watched = view(*[snapshot(HaState.TERMINATED, HaState.TERMINATED, seconds=s) for s in (0, 2)])
    found = watched.decision.diagnosis

    metrics = after(watched)

    assert value(metrics, "keawatch_diagnosis_active", code=found.code, severity=found.severity) == 1
    assert value(metrics, "keawatch_diagnosis_active", code="OK", severity="ok") == 0
    assert value(metrics, "keawatch_pair_redundant") == 0
    assert value(metrics, "keawatch_diagnosis_since_timestamp_seconds", code=found.code) == found.since.timestamp()


class TestHealings:
    begun = Attempt(PLAN.id, PLAN.code, PLAN.strategy, at(), by="operator")

    def test_are_there_at_zero_before_the_first(self) -> None:
        metrics = after(view())

        healings = value(metrics, "keawatch_healings_total", code="TERMINATED_SKEW", trigger="auto", result="failed")
        assert healings == 0
        assert value(metrics, "keawatch_healing_service_pause_seconds_total") == 0
        assert value(metrics, "keawatch_commands_total", server="b", command="ha-reset", result="done") == 0

    def test_are_counted_once_when_they_end(self) -> None:
        ended = replace(self.begun, ended_at=at(3), result="ok")
        rounds = [view(healthy(s), attempts=(ended,)) for s in (4, 6, 8)]

        metrics = after(view(), view(attempts=(self.begun,)), *rounds)

        count = value(metrics, "keawatch_healings_total", code=PLAN.code, trigger="operator", result="ok")
        assert count == 1

    def test_of_an_earlier_keawatch_are_not_counted_again(self) -> None:
        ended = replace(self.begun, ended_at=at(-3), result="ok")

        metrics = after(view(attempts=(ended,)), view(attempts=(ended,)))

        assert value(metrics, "keawatch_healings_total", code=PLAN.code, trigger="operator", result="ok") == 0

    def test_are_in_progress_while_they_are(self) -> None:
        assert value(after(view(attempts=(self.begun,))), "keawatch_healing_in_progress") == 1
        assert value(after(view()), "keawatch_healing_in_progress") == 0

    def test_add_up_the_seconds_without_service(self) -> None:
        metrics = after(view())

        metrics.ended(view(), outcome(pause=0.4))
        metrics.ended(view(), outcome(pause=0.6))

        assert value(metrics, "keawatch_healing_service_pause_seconds_total") == 1.0

    def test_count_only_commands_that_have_left(self) -> None:
        metrics, step = after(view()), PLAN.steps[0]

        for result in ("done", "skipped", "stopped"):
            order = "b: ha-reset" if result != "skipped" else None
            metrics.stepped(view(), step, None)
            metrics.stepped(view(), step, StepReport(step.key, step.title, order, result))

        assert value(metrics, "keawatch_commands_total", server="b", command="ha-reset", result="done") == 1
        text = generate_latest(metrics.registry).decode()
        assert 'result="stopped"' not in text

    def test_held_back_is_told(self) -> None:
        terminated = [snapshot(HaState.TERMINATED, HaState.TERMINATED, seconds=s) for s in range(0, 20, 2)]

        held = after(view(*terminated, policy=Policy(autonomy=Autonomy.OBSERVE)))

        assert value(held, "keawatch_healing_held_back") == 1
        assert value(after(view(*terminated)), "keawatch_healing_held_back") == 0


def test_restart_and_change_of_state_are_counted() -> None:
    again = restarted(answering("b", HaState.WAITING), 4712)

    metrics = after(
        view(), view(snapshot(HaState.HOT_STANDBY, silent("b"))), view(snapshot(HaState.HOT_STANDBY, again))
    )

    assert value(metrics, "keawatch_server_restarts_total", server="b") == 1
    assert value(metrics, "keawatch_server_restarts_total", server="a") == 0
    assert value(metrics, "keawatch_ha_transitions_total", server="b", **{"from": "hot-standby", "to": "waiting"}) == 1


def test_pause_is_shown_until_it_runs_out() -> None:
    pause = Pause(at(), at(60), "upgrade", "eva")

    during, later = after(view(pause=pause)), after(view(healthy(61), pause=pause))

    assert value(during, "keawatch_paused") == 1
    assert value(during, "keawatch_pause_expires_timestamp_seconds") == at(60).timestamp()
    assert value(later, "keawatch_paused") == 0
    assert value(later, "keawatch_pause_expires_timestamp_seconds") is None


def test_journal_that_cannot_be_written_is_told_from_other_trouble() -> None:
    journal = after(view(trouble="the journal /x can't be written (disk full)"))
    other = after(view(trouble="an error inside keawatch ended the plan"))

    assert (value(journal, "keawatch_journal_ok"), value(journal, "keawatch_trouble")) == (0, 1)
    assert (value(other, "keawatch_journal_ok"), value(other, "keawatch_trouble")) == (1, 1)


def test_series_of_a_vanished_server_are_dropped_and_those_of_other_pairs_stay() -> None:
    def renamed(seen: Observation) -> Observation:
        return replace(seen, server="c")

    other = replace(view(), name="guests")
    moved = replace(healthy(2), second=renamed(silent("b", NoAnswer.REFUSED)))

    metrics = after(other, view(), view(moved))

    assert value(metrics, "keawatch_poll_errors_total", server="b", reason="timeout") is None
    assert value(metrics, "keawatch_up", server="b") is None
    assert value(metrics, "keawatch_poll_errors_total", server="c", reason="refused") == 1
    assert value(metrics, "keawatch_healing_service_pause_seconds_total") == 0
    assert 'pair="guests",server="b"' in generate_latest(metrics.registry).decode().replace('service="dhcp4",', "")


def test_histograms_add_up() -> None:
    metrics = after(view(), view())

    assert value(metrics, "keawatch_poll_duration_seconds_count", server="a") == 2
    assert value(metrics, "keawatch_poll_duration_seconds_bucket", server="a", le="0.01") == 0
    assert value(metrics, "keawatch_poll_duration_seconds_bucket", server="a", le="0.025") == 2
    assert value(metrics, "keawatch_loop_duration_seconds_bucket", le="+Inf") == 2
    assert value(metrics, "keawatch_loop_duration_seconds_sum") == pytest.approx(0.06)


def test_can_be_read_before_the_first_round() -> None:
    assert "keawatch_build_info" in generate_latest(Metrics().registry).decode()


def test_no_family_comes_twice_and_none_is_global() -> None:
    families = [
        family.name for family in text_string_to_metric_families(generate_latest(everything().registry).decode())
    ]

    assert len(families) == len(set(families))
    assert all(name.startswith("keawatch_") for name in families)
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("keawatch_")]


@pytest.fixture
def promtool() -> str:
    found = shutil.which("promtool")
    if not found:
        not_tested("WHAT PROMETHEUS IS TOLD", "promtool is missing; install prometheus")
    return found


def test_promtool_has_no_complaint_about_the_metrics(promtool: str) -> None:
    text = generate_latest(everything().registry)

    told = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False, timeout=60)

    assert (told.returncode, told.stdout, told.stderr) == (0, b"", b"")


def test_promtool_has_no_complaint_about_the_alerts(promtool: str) -> None:
    told = subprocess.run([promtool, "check", "rules", str(RULES)], capture_output=True, check=False, timeout=60)

    assert told.returncode == 0, told.stdout.decode() + told.stderr.decode()


DIAGNOSED = 'keawatch_diagnosis_active{pair="lan",service="dhcp4",code="%s",severity="warning"}'
CONFLICTS = 'keawatch_lease_update_conflicts_total{pair="lan",service="dhcp4",server="a",kind="busy"}'
USED = 'keawatch_pool_used_ratio{pair="lan",service="dhcp4",subnet="1",kind="addresses"}'
FULL_AT = 'keawatch_pool_full_timestamp_seconds{pair="lan",service="dhcp4",subnet="1",kind="addresses"}'
DIFFER = 'keawatch_lease_differences{pair="lan",service="dhcp4",kind="missing"}'
SERVING = 'keawatch_pair_serving{pair="lan",service="dhcp4"}'
PLAYED: list[tuple[str, dict[str, str], bool]] = [
    ("KeaRejectsNearLimit", {DIAGNOSED % "REJECTS_NEAR_LIMIT": "0x59 1"}, True),
    ("KeaRejectsNearLimit", {DIAGNOSED % "CONFLICTS_BUSY": "0x59 1"}, False),
    ("KeaLeaseUpdateConflicts", {CONFLICTS: "0x30 0+1x30"}, True),
    ("KeaLeaseUpdateConflicts", {CONFLICTS: "0x55 0+1x5"}, False),
    ("KeaPoolNearlyFull", {USED: "0.96x60"}, True),
    ("KeaPoolNearlyFull", {USED: "0.8x60", FULL_AT: "7200x60"}, True),
    ("KeaPoolNearlyFull", {USED: "0.8x60", FULL_AT: "72000x60"}, False),
    ("KeaPoolNearlyFull", {USED: "0.8x60"}, False),
    ("KeaPoolNearlyFull", {USED: "0.8x55 0.96x5"}, False),
    ("KeaLeasesDiffer", {DIFFER: "5x60"}, True),
    ("KeaLeasesDiffer", {DIFFER: "5x50 0x10"}, False),
    ("KeaPairServesNobody", {SERVING: "1x50 0x10"}, True),
    ("KeaPairServesNobody", {SERVING: "1x60"}, False),
]
"""An alert, what is measured minute by minute for an hour, and whether it fires at its end."""


@pytest.mark.parametrize(("alert", "series", "fires"), PLAYED, ids=lambda one: one if isinstance(one, str) else None)
def test_an_alert_fires_where_it_should_and_nowhere_else(
    promtool: str, tmp_path: Path, alert: str, series: dict[str, str], fires: bool
) -> None:
    # Whether it fires is the question; which labels it has would only say the rule again.
    firing = [{"labels": "{}", "value": 1}] if fires else []
    asked = {
        "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})',
        "eval_time": "60m",
        "exp_samples": firing,
    }
    measured = [{"series": name, "values": values} for name, values in series.items()]
    played = {"interval": "1m", "input_series": measured, "promql_expr_test": [asked]}
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [played]}
    (tmp_path / "played.yml").write_text(json.dumps(document))

    told = subprocess.run(
        [promtool, "test", "rules", str(tmp_path / "played.yml")], capture_output=True, check=False, timeout=60
    )

    assert told.returncode == 0, told.stdout.decode() + told.stderr.decode()


def test_alerts_name_only_metrics_that_exist() -> None:
    names = {sample.name for family in everything().registry.collect() for sample in family.samples}
    wanted = {word for line in RULES.read_text().splitlines() for word in _metrics_in(line)}

    assert wanted
    assert wanted <= names


def _metrics_in(line: str) -> list[str]:
    import re  # noqa: PLC0415

    return re.findall(r"\bkeawatch_[a-z_]+", line)
