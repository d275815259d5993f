"""What lint calls an error is refused by real Kea, or leaves a pair that does not work; and what it finds no error in starts."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from keawatch.core.model import version_of
from keawatch.lint import run, trial
from keawatch.lint.dialect import parse
from keawatch.lint.model import Severity
from tests.kea_pair.config import Json
from tests.kea_pair.lab import Lab, LabError, Node, Pair, PairSpec, side_by_side
from tests.kea_pair.watching import Keawatch
from tests.kea_pair.whole import WHOLE
from tests.lint.cases import (
    FILES,
    Change,
    both,
    dhcp,
    ha,
    hook,
    host,
    in_ha,
    in_subnet,
    load_balancing,
    nothing,
    peer,
    subnet,
    top,
)
from tests.lint.test_dialect import REFUSED as REFUSED_TEXTS
from tests.lint.test_dialect import TAKEN

RELEASES = {"2.2": "2.2.0", "2.6": "2.6.3", "3.0": "3.0.4"}
SECONDS = 20
STARTED = "DHCP4_STARTED"

READY = {"states": [{"state": "ready", "pause": "always"}]}


def _second_ha(config: Json) -> None:
    dhcp(config)["hooks-libraries"].append(copy.deepcopy(dhcp(config)["hooks-libraries"][-1]))


def _relationships(value: object) -> Change:
    return lambda config: dhcp(config)["hooks-libraries"][-1]["parameters"].update({"high-availability": value})


def _second_relationship(**settings: str) -> Change:
    def change(config: Json) -> None:
        other = copy.deepcopy(ha(config))
        other["this-server-name"] = "c"
        for entry, name in zip(other["peers"], "cd", strict=True):
            entry["name"] = name
        other.update(settings)
        if settings.get("mode") == "load-balancing":
            other["peers"][1]["role"] = "secondary"
        dhcp(config)["hooks-libraries"][-1]["parameters"]["high-availability"].append(other)

    return change


def _add_subnet(**settings: object) -> Change:
    return lambda config: dhcp(config)["subnet4"].append({"id": 2, "subnet": "172.16.0.0/16", **settings})


def _socket(**settings: object) -> Change:
    return lambda config: dhcp(config)["control-sockets"].append(settings)


def _in_tmp(config: Json) -> None:
    sockets = [dhcp(config).get("control-socket"), *dhcp(config).get("control-sockets", [])]
    next(one for one in sockets if one)["socket-name"] = "/tmp/kea.sock"


ALL = ("2.2", "2.6", "3.0")
LATE = ("2.6", "3.0")


@dataclass(frozen=True)
class Refused:
    """One change with which Kea does not start."""

    rule: str
    change: Change
    versions: tuple[str, ...] = LATE
    in_words: str = ""
    """What Kea says, as a regular expression."""
    checked: bool = False
    """Whether -t sees it too."""


REFUSED = (
    Refused(
        "ha-wait-backup-ack",
        in_ha(wait_backup_ack=True),
        ALL,
        "'wait-backup-ack' must be set to false in the hot standby",
    ),
    Refused(
        "ha-wait-backup-ack",
        both(load_balancing(split=True), in_ha(wait_backup_ack=True)),
        LATE,
        "'wait-backup-ack' must be set to false in the load balancing",
    ),
    Refused("ha-delay-too-long", in_ha(max_response_delay=65536), ALL, "must not be greater than 65535"),
    Refused(
        "ha-delayed-updates-limit", in_ha(delayed_updates_limit=1), LATE, "'delayed-updates-limit' must be set to 0"
    ),
    Refused("ha-this-server-unknown", in_ha(this_server_name="z"), LATE, "no peer configuration specified"),
    Refused("ha-peer-name-twice", peer(1, name="a"), LATE, "already specified"),
    Refused("ha-url-no-address", peer(1, url="http://kea-b.example:8765/"), ALL, "bad url"),
    Refused("ha-roles", peer(1, role="primary"), LATE, "multiple primary servers"),
    Refused("ha-roles", in_ha(mode="load-balancing"), LATE, "standby servers not allowed"),
    Refused("ha-mode", in_ha(mode="hot"), LATE, "unsupported value 'hot'"),
    Refused("ha-tls-incomplete", in_ha(trust_anchor=FILES["trust-anchor"]), LATE, "missing or empty: all or none"),
    Refused("ha-https-without-tls", peer(1, url="https://10.77.0.3:8765/"), LATE, "https scheme is not supported"),
    Refused("ha-wrong-kind", in_ha(heartbeat_delay="10000"), LATE, "invalid type"),
    Refused("ha-wrong-kind", in_ha(sync_timeout=-1), LATE, "must not be negative"),
    Refused("ha-state-machine", in_ha(state_machine={"states": [{"state": "redy"}]}), LATE, "unknown state"),
    Refused("ha-two-passwords", peer(1, basic_auth_password="p", basic_auth_password_file="/p"), LATE, "only one of"),
    Refused("ha-parameters-missing", _relationships([]), LATE, "must not be empty"),
    Refused("ha-hook-twice", _second_ha, LATE, "already exists"),
    Refused("ha-relationships", _second_relationship(), ("2.2",), "Expected exactly one"),
    Refused("ha-relationships", _second_relationship(mode="load-balancing"), LATE, "only supported for 'hot-standby'"),
    Refused(
        "ha-control-socket-port",
        _socket(**{"socket-type": "http", "socket-address": "10.77.0.2", "socket-port": 8765}),
        ("3.0",),
        "Address already in use|bind",
    ),
    Refused(
        "reservation-address-twice",
        in_subnet(reservations=[host("10.0.0.5", "01"), host("10.0.0.5", "02")]),
        ALL,
        "already a reservation",
        checked=True,
    ),
    Refused(
        "reservation-client-twice",
        in_subnet(reservations=[host("10.0.0.5", "01"), host("10.0.0.6", "01")]),
        ALL,
        "already been added",
        checked=True,
    ),
    Refused("reservation-outside", in_subnet(reservations=[host("11.0.0.5", "01")]), ALL, "not within", checked=True),
    Refused("subnet-id-missing", lambda config: subnet(config).pop("id"), LATE, "missing parameter 'id'", checked=True),
    Refused("subnet-twice", _add_subnet(id=1), ALL, "already in use", checked=True),
    Refused("subnet-twice", _add_subnet(subnet="10.0.0.0/8"), ALL, "already exists", checked=True),
    Refused("pool-outside", in_subnet(pools=[{"pool": "11.0.0.1 - 11.0.0.9"}]), ALL, "does not m", checked=True),
    Refused(
        "pool-outside", in_subnet(pools=[{"pool": "10.0.0.9 - 10.0.0.1"}]), ALL, "Failed to create pool", checked=True
    ),
    Refused(
        "pools-overlap",
        in_subnet(pools=[{"pool": "10.0.0.0/28"}, {"pool": "10.0.0.5 - 10.0.0.20"}]),
        ALL,
        "overlaps",
        checked=True,
    ),
    Refused(
        "control-sockets",
        top(control_sockets=[{"socket-type": "unix", "socket-name": "x"}]),
        ("2.2", "2.6"),
        "control-sockets",
        checked=True,
    ),
    Refused(
        "control-sockets",
        top(control_socket={"socket-type": "unix", "socket-name": "x"}),
        ("3.0",),
        "duplicate control-socket",
        checked=True,
    ),
    Refused("path-not-allowed", _in_tmp, LATE, "invalid path specified"),
    Refused(
        "path-not-allowed",
        top(lease_database={"type": "memfile", "name": "/tmp/leases.csv"}),
        LATE,
        "invalid path specified",
    ),
    Refused(
        "output-options",
        top(loggers=[{"name": "kea-dhcp4", "output-options": [{"output": "stdout"}]}]),
        ("2.2",),
        "output-options",
        checked=True,
    ),
    Refused("lifetimes-contradict", top(min_valid_lifetime=9000), ALL, "min-valid-lifetime", checked=True),
    Refused("top-level", lambda config: config.update({"Dhcp6": {}}), ALL, "syntax error", checked=True),
    Refused("custom-empty-map", top(option_def=[], multi_threading=[]), ALL, "syntax error", checked=True),
)
"""What is shown refused; a rule about one version is shown on that one."""

TAKES = (
    in_ha(heartbeat_delay=65535),
    in_ha(heartbeat_delai=1),
    in_ha(max_rejected_lease_updates=0),
    in_ha(state_machine=READY),
    both(top(ip_reservations_unique=False), in_subnet(reservations=[host("10.0.0.5", "01"), host("10.0.0.5", "02")])),
    load_balancing(split=True),
    load_balancing(split=False),
    hook("stat_cmds", there=False),
    nothing,
)
"""What lint finds no error in, and Kea starts with."""


def tried(node: Node, config: Json | str, option: str) -> tuple[int, str]:
    """Return how Kea ends with a configuration, and all it said; a start that succeeds is ended as soon as it says so."""
    path = node.config_path.with_name(f"try-{abs(hash(json.dumps(config)))}.conf")
    path.write_text(config if isinstance(config, str) else json.dumps(config, indent=1))
    inside = f"{node.place.inside}/{path.name}"
    environment = [f"{item}" for item in node._environment() if not item.startswith("KEA_LOG_FILE")]
    command = ["chroot", str(node.place.root), "env", *environment, f"kea-dhcp{node.spec.service}", option, inside]
    process = subprocess.Popen(
        node.place.lab.network.enter(node.name, command) if isinstance(node.place.lab, Lab) else command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    late = threading.Timer(SECONDS, process.kill)
    late.start()
    begun = time.monotonic()
    try:
        said = "".join(_lines(process))
        if time.monotonic() - begun >= SECONDS:
            raise LabError(f"Kea neither started nor ended within {SECONDS} s: {said[-1500:]}")
        return process.wait(SECONDS), said
    finally:
        late.cancel()
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout
    for line in process.stdout:
        yield line
        if STARTED in line:
            process.kill()


def base(node: Node) -> Json:
    """Return the laboratory's own configuration, logging to where it can be read."""
    config: Json = json.loads(node.config_path.read_text())
    dhcp(config)["loggers"] = [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout"}]}]
    return config


def found(config: Json, version: str) -> set[str]:
    """Return the errors that lint finds."""
    told = run.Told(version=version_of(RELEASES[version]))
    subject = run.subject_of(parse(json.dumps(config), "kea.conf"), "kea.conf", told)
    return {finding.rule for finding in run.lint([subject]) if finding.severity is Severity.ERROR}


def chosen(version: str) -> list[Refused]:
    """Return the cases that are played on a version; but for the whole, each is played on one of those it is about."""
    return [
        case
        for number, case in enumerate(REFUSED)
        if (version in case.versions if WHOLE else case.versions[number % len(case.versions)] == version)
    ]


def refusal(node: Node, case: Refused, version: str) -> str:
    """Return what is not as the case says; nothing when all is."""
    config = base(node)
    case.change(config)
    if case.rule != "custom-empty-map" and case.rule not in found(config, version):
        return f"{case.rule}: lint does not find it"
    status, words = tried(node, config, "-t" if case.checked else "-c")
    if STARTED in words or status == 0 or not re.search(case.in_words, words):
        return f"{case.rule}: Kea ends with {status}: {words[-1500:]}"
    return ""


def start(node: Node, change: Change, version: str) -> str:
    """Return what Kea says when it does not start, or what lint finds wrongly; nothing when all is well."""
    config = base(node)
    change(config)
    _, words = tried(node, config, "-c")
    wrong = found(config, version)
    return "" if STARTED in words and not wrong else f"{wrong}: {words[-1500:]}"


@pytest.mark.parametrize("version", ALL)
def test_an_error_is_refused_and_no_error_is_not(lab: Lab, version: str) -> None:
    node = lab.pair(PairSpec(version=version)).primary
    problems = [problem for case in chosen(version) if (problem := refusal(node, case, version))]
    changes = TAKES if WHOLE else TAKES[ALL.index(version) :: len(ALL)]
    problems += [problem for change in changes if (problem := start(node, change, version))]
    assert problems == []


@pytest.mark.parametrize("version", ALL if WHOLE else ("2.6",))
def test_kea_s_own_check_says_nothing_of_a_wrong_ha_parameter(lab: Lab, version: str) -> None:
    node = lab.pair(PairSpec(version=version)).primary
    config = base(node)
    in_ha(wait_backup_ack=True)(config)
    assert tried(node, config, "-t")[0] == 0


@pytest.mark.parametrize("version", ALL if WHOLE else ("3.0",))
def test_kea_reads_what_lint_reads_and_refuses_what_it_refuses(lab: Lab, version: str) -> None:
    node = lab.pair(PairSpec(version=version)).primary
    with ThreadPoolExecutor(2) as pool:
        taken = dict(zip(TAKEN, pool.map(lambda text: tried(node, text, "-t")[0], TAKEN.values()), strict=True))
        texts = {name: text for name, (text, _, _) in REFUSED_TEXTS.items()}
        refused = dict(zip(texts, pool.map(lambda text: tried(node, text, "-t")[0], texts.values()), strict=True))
    assert [name for name, status in taken.items() if status] == []
    assert [name for name, status in refused.items() if not status] == []


@dataclass(frozen=True)
class Broken:
    """A pair that Kea starts, or half of which, and that does not work."""

    rule: str
    primary: Change = nothing
    standby: Change = nothing
    ends: tuple[str, str] = ("", "")
    """The states in which both stay; a server that does not start is "down"."""
    busy: bool = False
    """Whether clients have to ask first."""


def _same_url(config: Json) -> None:
    ha(config)["peers"][1]["url"] = ha(config)["peers"][0]["url"]


def _mode(config: Json) -> None:
    ha(config)["mode"] = "load-balancing"
    ha(config)["peers"][1]["role"] = "secondary"


BROKEN = (
    Broken("lease-cmds-missing", standby=hook("lease_cmds", there=False), ends=("syncing", "waiting")),
    Broken("ha-heartbeat-off", in_ha(heartbeat_delay=0), in_ha(heartbeat_delay=0), ("waiting", "waiting")),
    Broken("ha-same-url", _same_url, _same_url, ("hot-standby", "down")),
    Broken("pair-same-name", standby=in_ha(this_server_name="a"), ends=("partner-down", "down")),
    Broken("pair-peers-differ", standby=peer(0, name="z"), ends=("partner-down", "ready")),
    Broken("pair-modes-differ", standby=_mode, ends=("hot-standby", "waiting")),
    Broken(
        "pair-roles-differ",
        standby=both(peer(0, role="standby"), peer(1, role="primary")),
        ends=("hot-standby", "hot-standby"),
    ),
    Broken("pair-subnets-differ", standby=in_subnet(id=2), ends=("terminated", "terminated"), busy=True),
    Broken("pair-ha-missing", standby=hook("ha", there=False), ends=("partner-down", "none")),
)


@dataclass(frozen=True)
class Played:
    """A broken pair on a version."""

    broken: Broken
    version: str

    def __str__(self) -> str:
        return f"{self.broken.rule} on {self.version}"

    __hash__ = object.__hash__


def changed(pair: Pair, broken: Broken) -> set[str]:
    """Write the broken configurations, and return the errors that lint finds in them."""
    configs = []
    for node, change in zip(pair.nodes, (broken.primary, broken.standby), strict=True):
        config: Json = json.loads(node.config_path.read_text())
        change(config)
        node.config_path.write_text(json.dumps(config))
        configs.append(parse(json.dumps(config), f"{node.name}.conf"))
    told = run.Told(version=version_of(RELEASES[pair.spec.version]))
    found_ = run.lint([run.subject_of(config, None, told) for config in configs])
    return {finding.rule for finding in found_ if finding.severity is Severity.ERROR}


def state(node: Node) -> str:
    """Return the state of a server; "none" where it has no HA."""
    try:
        answer = node.command("ha-heartbeat", timeout=2)
    except LabError:
        return "down"
    return str(answer["arguments"]["state"]) if answer["result"] == 0 else "none"


def broken_states(lab: Lab, played: Played) -> tuple[set[str], tuple[str, str], list[tuple[str, ...]]]:
    """Return what lint finds, the states in which the pair settles, and the scopes it serves then."""
    broken = played.broken
    pair = lab.pair(
        PairSpec(version=played.version, heartbeat_delay=0.5, max_response_delay=2.0, max_rejected_lease_updates=2)
    )
    errors = changed(pair, broken)
    for node in pair.nodes:
        node.launch()
    pair.primary.wait_answering()
    if broken.busy:
        pair.wait_normal()
        pair.clients().run(20, 1, 20)
    until = time.monotonic() + 30
    while (seen := (state(pair.primary), state(pair.standby))) != broken.ends and time.monotonic() < until:
        time.sleep(0.1)
    time.sleep(1.0)
    scopes = [tuple(node.scopes()) if state(node) not in {"down", "none"} else () for node in pair.nodes]
    return errors, (state(pair.primary), state(pair.standby)) if seen == broken.ends else seen, scopes


def test_what_lint_calls_an_error_of_a_pair_does_not_work(possible: None) -> None:
    # But for the whole, every second is played, the versions taking turns; all were seen on both.
    some = [Played(broken, LATE[number % 2]) for number, broken in enumerate(BROKEN[::2])]
    cases = [Played(broken, version) for broken in BROKEN for version in LATE] if WHOLE else some
    for played, (errors, ends, scopes) in side_by_side(broken_states, cases).items():
        assert played.broken.rule in errors, played
        assert ends == played.broken.ends, played
        if played.broken.rule == "pair-roles-differ":
            assert scopes == [("a",), ("b",)], "both serve"


def test_every_error_is_shown_on_real_kea() -> None:
    shown = {case.rule for case in (*REFUSED, *BROKEN)}
    errors = {rule.id for rule in run.ALL_RULES if rule.severity is Severity.ERROR}
    # Of these two Kea is the one that speaks.
    assert errors - shown == {"kea-refuses", "syntax"}


def test_a_running_pair_is_looked_at_and_several_addresses_are_what_the_rule_says(lab: Lab) -> None:
    pair = lab.pair(PairSpec(version="2.6"))
    lab.run_in("a", ["ip", "address", "add", "10.77.9.1/8", "dev", "eth0"])
    pair.start()
    pair.wait_normal()
    sent = pair.clients().run(10, 1, 10).sent
    assert pair.primary.ask("statistic-get-all")["pkt4-discover-received"][0][0] == 2 * sent
    asked = Keawatch(lab, pair).ask("lint", "--json", timeout=60)
    told = json.loads(asked.stdout)["findings"]
    assert asked.returncode == 1, asked.stderr
    assert {finding["server"] for finding in told} == {"a", "b"}
    assert {finding["rule"] for finding in told} >= {"ha-listener-threads", "lfc-off", "ha-unacked-off"}
    assert not [finding for finding in told if finding["severity"] == "error" or finding["rule"].startswith("pair-")]


@pytest.mark.parametrize("version", LATE)
def test_the_kea_of_this_host_is_asked_also_about_what_its_hooks_refuse(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    node = lab.pair(PairSpec(version=version)).primary
    script = tmp_path / "kea-dhcp4"
    inside = f"{node.place.inside}/asked.conf"
    run_in_root = f"chroot {node.place.root} env {' '.join(node._environment())} kea-dhcp4"
    script.write_text(
        f'#!/bin/sh\n[ "$1" = -v ] && exec {run_in_root} -v\ncp "$2" {node.home}/asked.conf\n'
        f"exec ip netns exec {lab.name}-a {run_in_root} $1 {inside}\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    config = base(node)
    dhcp(config)["hooks-libraries"].append(
        {
            "library": dhcp(config)["hooks-libraries"][0]["library"].replace("lease_cmds", "run_script"),
            "parameters": {"name": "/bin/true", "sync": False},
        }
    )
    assert not [verdict for verdict in trial.try_on_kea(config, 4, hooks=True) if verdict.refused]
    in_ha(wait_backup_ack=True)(config)
    checked, loaded = trial.try_on_kea(config, 4, hooks=True)
    assert (checked.option, checked.refused) == ("-t", False)
    assert (loaded.option, loaded.refused) == ("-T", True)
    assert "'wait-backup-ack' must be set to false" in loaded.words
    top(valid_lifetim=1)(config)
    (only,) = trial.try_on_kea(config, 4, hooks=True)
    assert only.refused
    assert "valid-lifetim" in only.words
