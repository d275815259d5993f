"""The JSON that other programs rely on says what is so."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

from rich.console import Console

from keawatch.cli import show
from keawatch.core.decision import Guard, Withheld, decide
from keawatch.core.logged import Logged, LogKind, LogSource
from keawatch.core.model import Attempt, HaState, NoAnswer, Pause
from keawatch.core.plan import Plan
from keawatch.core.policy import Autonomy, Policy
from keawatch.daemon import shown
from keawatch.daemon.journal import Entry, Journal
from keawatch.daemon.jsonable import jsonable
from tests.builders import (
    PLAN,
    POLICY,
    SICK,
    answering,
    at,
    healthy,
    history,
    outcome,
    silent,
    snapshot,
    view,
)

# DESIGN.md section 4: taking one of these away breaks somebody's script.
PROMISED = {"name", "mode", "serving", "redundant", "diagnosis", "plan", "withheld", "servers"}
PROMISED_OF_SERVER = {"name", "role", "state", "serving", "answer", "kea_version", "clock_skew", "leases"}
PROMISED_OF_OUTCOME = {
    "plan_id",
    "result",
    "strategy",
    "steps",
    "announced_pause",
    "measured_pause",
    "written",
    "deleted",
    "run",
}

BOTH_TERMINATED = [snapshot(HaState.TERMINATED, HaState.TERMINATED, seconds=s) for s in range(0, 20, 2)]


def test_has_every_promised_key_and_is_json() -> None:
    data = json.loads(json.dumps(shown.status([view()])))

    assert set(data) == {"pairs"}
    pair = data["pairs"][0]
    assert set(pair) >= PROMISED
    assert set(pair["diagnosis"]) == {"code", "severity", "sentence", "since", "evidence"}
    assert all(set(server) >= PROMISED_OF_SERVER for server in pair["servers"])


def test_rejected_clients_are_counted_by_the_logs() -> None:
    events = [
        Logged(
            at(n), "a", LogKind.HA_LEASE_UPDATE_CONFLICT, client=f"02:{n}", address=f"10.0.0.{n}", reason="ResourceBusy"
        )
        for n in range(4)
    ]
    heard = view().history.heard(events, (LogSource("a", "/var/log/kea.log"),))
    a, b = json.loads(json.dumps(shown.pair(replace(view(), history=heard))))["servers"]

    assert (a["rejected"]["clients"], a["rejected"]["limit"], a["rejected"]["causes"]) == (4, 10, {"busy": 4})
    assert {row["client"] for row in a["rejected"]["top"]} == {"02:0", "02:1", "02:2", "02:3"}
    assert b["rejected"]["clients"] == 0
    assert [server["rejected"] for server in shown.pair(view())["servers"]] == [None, None]


def test_a_log_is_shown_with_what_keeps_it_from_being_read() -> None:
    lost = LogSource("a", "/var/log/kea.log", up=False, why="/var/log/kea.log does not exist.", since=at(1))
    heard = view().history.heard([], (lost,))
    pair = json.loads(json.dumps(shown.pair(replace(view(), history=heard))))
    a, b = pair["servers"]

    assert a["log"] == {
        "where": "/var/log/kea.log",
        "up": False,
        "why": "/var/log/kea.log does not exist.",
        "since": "2026-08-01T12:00:01.000Z",
        "heard_at": None,
    }
    assert b["log"] is None
    console = Console(record=True, width=120, file=StringIO())
    show.status(console, {"pairs": [pair]})
    assert "the log of a is not read: /var/log/kea.log does not exist." in console.export_text()


def test_healthy_pair() -> None:
    pair = shown.pair(view())

    assert (pair["name"], pair["mode"], pair["serving"], pair["redundant"]) == ("lan", "hot-standby", True, True)
    assert pair["diagnosis"]["code"] == "OK"
    assert pair["diagnosis"]["since"] == "2026-08-01T12:00:00.000Z"
    assert pair["plan"] is None
    assert pair["withheld"] == []
    a, b = pair["servers"]
    assert (a["role"], a["state"], a["serving"], a["answer"]) == ("primary", "hot-standby", True, "ok")
    assert (b["role"], b["state"], b["serving"], b["kea_version"], b["leases"]) == (
        "standby",
        "hot-standby",
        False,
        "2.6.3",
        1200,
    )
    assert a["dhcp"] == {"enabled": True, "switched_off_by": []}


def test_silent_server_keeps_its_role_and_says_why() -> None:
    blind = silent("b", NoAnswer.REFUSED, detail="connection refused at http://b.example:8001/")

    b = shown.pair(view(snapshot(HaState.HOT_STANDBY, blind)))["servers"][1]

    assert (b["role"], b["state"], b["serving"], b["answer"]) == ("standby", None, False, "refused")
    assert b["note"] == "connection refused at http://b.example:8001/"
    assert b["clock_skew"] is None
    assert b["dhcp"] is None


def test_clock_skew_is_server_minus_partner_in_whichever_order_they_are_configured() -> None:
    ahead = answering("b", HaState.HOT_STANDBY, ahead=40.0)
    seen = snapshot(HaState.HOT_STANDBY, ahead)
    swapped = replace(seen, first=seen.second, second=seen.first)

    for one in (seen, swapped):
        skews = {server["name"]: server["clock_skew"] for server in shown.pair(view(one))["servers"]}
        assert skews == {"a": -40.0, "b": 40.0}


def test_no_skew_has_no_minus_sign() -> None:
    assert json.dumps([server["clock_skew"] for server in shown.pair(view())["servers"]]) == "[0.0, 0.0]"


def test_plan_with_its_steps_is_shown_and_acted_upon() -> None:
    pair = shown.pair(view(*BOTH_TERMINATED))

    plan = pair["plan"]
    assert set(plan) == {
        "id",
        "strategy",
        "code",
        "summary",
        "announced_pause",
        "steps",
        "act",
        "under_way",
        "step",
    }
    assert plan["act"]
    assert not plan["under_way"]
    assert all(set(step) == {"key", "title", "order"} for step in plan["steps"])
    assert any(step["order"] and "ha-reset" in step["order"] for step in plan["steps"])


def test_withheld_plan_says_by_which_guard_and_is_not_acted_upon() -> None:
    pair = shown.pair(view(*BOTH_TERMINATED, policy=Policy(autonomy=Autonomy.OBSERVE)))

    assert pair["plan"]["act"] is False
    assert {
        "guard": "autonomy",
        "strategy": pair["plan"]["strategy"],
        "reason": 'autonomy is "observe": keawatch only watches this pair',
    } in pair["withheld"]


def test_plan_under_way_is_shown_though_the_pair_now_looks_well() -> None:
    begun = Plan("plan-1", "TERMINATED_SKEW", "cover", "Heal.", (), 0.0)

    plan = shown.pair(replace(view(step="Reset b"), under_way=begun))["plan"]

    assert plan["under_way"]
    assert (plan["id"], plan["strategy"], plan["code"], plan["step"]) == (
        "plan-1",
        "cover",
        "TERMINATED_SKEW",
        "Reset b",
    )


def test_attempt_that_a_dead_keawatch_left_is_not_under_way_for_ever() -> None:
    cut_off = Attempt("plan-1", "TERMINATED_SKEW", "cover", at(-60))
    later = Attempt("plan-2", "TERMINATED_SKEW", "cover", at(-30), at(-20), "ok")

    assert shown.pair(view(attempts=(cut_off, later)))["plan"] is None


def test_operator_plan_leaves_the_view_and_swaps_the_decision() -> None:
    seen = history(*BOTH_TERMINATED)
    watched = view(*BOTH_TERMINATED, policy=Policy(autonomy=Autonomy.OBSERVE))

    entry = shown.operator_plan(watched, decide(seen, watched.policy, by_operator=True))

    assert entry["plan"]["act"]
    assert not [held for held in entry["withheld"] if held["strategy"] == entry["plan"]["strategy"]]
    assert not watched.decision.act


def test_pause_is_shown_until_it_runs_out() -> None:
    assert shown.pair(view(pause=Pause(at(-9), at(60), "upgrade", "eva")))["paused"] == {
        "since": "2026-08-01T11:59:51.000Z",
        "until": "2026-08-01T12:01:00.000Z",
        "reason": "upgrade",
        "owner": "eva",
    }
    assert shown.pair(view(pause=Pause(at(-9), at(-1), "upgrade", "eva")))["paused"] is None


def test_outcome_has_every_promised_key() -> None:
    data = json.loads(json.dumps(shown.outcome(outcome())))

    assert set(data) >= PROMISED_OF_OUTCOME
    assert (data["result"], data["announced_pause"], data["measured_pause"]) == ("ok", 1.5, 0.4)
    assert data["steps"][0]["title"] == "Reset b"


def test_interrupted_plan_has_failed_for_whoever_waits_for_it() -> None:
    assert shown.outcome(outcome("interrupted"))["result"] == "failed"


class TestHistory:
    def test_tells_every_kind_of_entry_in_words(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path, at)
        watched = view(*BOTH_TERMINATED)
        journal.write("lan", "diagnosis", {"decision": watched.decision, "snapshot": watched.snapshot})
        journal.write("lan", "plan", {"plan": PLAN, "by": "operator"}, plan=PLAN.id)
        journal.write("lan", "step", {"key": "reset-b", "order": "b: ha-reset"}, plan=PLAN.id)
        journal.write("lan", "done", outcome().steps[0], plan=PLAN.id)
        journal.write("lan", "undone", {"order": "b: dhcp-enable"}, plan=PLAN.id)
        journal.write("lan", "end", {"result": "ok", "reason": "well", "measured_pause": 0.4}, plan=PLAN.id)
        journal.set_pause("lan", Pause(at(), None, "", "eva"))
        journal.set_pause("lan", None)
        journal.acknowledge("lan", "eva")

        data = json.loads(json.dumps(shown.history(journal.entries())))

        texts = [entry["text"] for entry in data["entries"]]
        assert texts[0].startswith("TERMINATED_")
        assert texts[0].endswith("[a terminated, b terminated]")
        assert texts[1:] == [
            "cover against TERMINATED_UNKNOWN, by the operator: b covers while a comes back.",
            "sends b: ha-reset",
            "Reset b: done after 1.2 s (HA state machine reset.)",
            "puts back: b: dhcp-enable",
            "ok: well; 0.4 s without service",
            "by eva, until resumed",
            "healing goes on as autonomy says",
            "the breaker was acknowledged by eva",
        ]
        assert "snapshot" not in data["entries"][0]["body"]
        journal.close()

    def test_silent_server_is_named_by_its_silence(self) -> None:
        watched = view(snapshot(HaState.HOT_STANDBY, silent("b")))
        body = jsonable({"decision": watched.decision, "snapshot": watched.snapshot})

        text = shown.history([Entry(1, at(), "lan", "diagnosis", None, body)])["entries"][0]["text"]

        assert text.endswith("[a hot-standby, b timeout]")

    def test_entry_of_another_version_hides_no_other(self) -> None:
        strange = [
            Entry(1, at(), "lan", "diagnosis", None, {"verdict": "fine"}),
            Entry(2, at(), "lan", "plan", None, {"plan": None, "by": "auto"}),
            Entry(3, at(), "lan", "weather", None, {"rain": True}),
            Entry(4, at(), "lan", "ack", None, {"owner": "eva"}),
        ]

        texts = [entry["text"] for entry in shown.history(strange)["entries"]]

        assert texts[0] == "verdict=fine"
        assert texts[2:] == ["rain=True", "the breaker was acknowledged by eva"]


def test_guards_that_spare_another_strategy_do_not_count_against_this_one() -> None:
    decision = replace(
        view(healthy()).decision,
        diagnosis=SICK,
        plan=PLAN,
        withheld=(Withheld(Guard.NO_WAY, "seamless", "not in this version"),),
    )

    pair = shown.pair(view(decision=decision, policy=POLICY))

    assert pair["plan"]["act"]
    assert [held["strategy"] for held in pair["withheld"]] == ["seamless"]
