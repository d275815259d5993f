"""
What is played to see whether a rule's advice keeps its promise: on a pair that is not yet started, once with and once without it.

A play returns its figures; which configuration it is played with is not its affair.
"""

import copy
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from tests.chaos.given import read
from tests.kea_pair import sql
from tests.kea_pair.config import Json
from tests.kea_pair.device import Device, Told, ask
from tests.kea_pair.lab import Exchanges, KeaSilentError, Lab, LabError, Node, Pair
from tests.kea_pair.net import ipv4
from tests.kea_pair.storm import begin as begin_storm
from tests.lint.cases import dhcp, ha, ha_hook, in_ha

Play = Callable[[Lab, Pair], Json]

RATE = 20
FIRST, OTHERS = ("-b", "mac=00:0c:01:02:00:00"), ("-b", "mac=00:0c:02:02:00:00")
"""Two crowds of clients that have nothing in common."""
CROWD = 100
_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+)")


def patient(seconds: int) -> tuple[str, ...]:
    """Let clients say how long they have been waiting, as real ones do, all through."""
    return ("-Y", "0", "-y", str(seconds))


def begin(pair: Pair) -> None:
    """Start a pair that gets well."""
    pair.start()
    pair.wait_normal(40)


def told(pair: Pair) -> str:
    """Return both states in words."""
    return " / ".join(pair.states())


def answers(asked: Exchanges) -> Json:
    """Return how many exchanges were begun, and how many succeeded."""
    return {"sent": asked.sent, "acked": asked.acked}


def logged(node: Node, message: str) -> int:
    """Return how often a server's log has a message."""
    return node.log_path.read_text(errors="replace").count(message)


def _wait(state: Callable[[], str], wanted: str, deadline: float) -> None:
    """Wait, at most so many seconds, until a server is in a state, however it is asked; Pair.wait_states asks both by their sockets."""
    until = time.monotonic() + deadline
    while (seen := state()) != wanted:
        if time.monotonic() > until:
            raise LabError(f"a server is {seen}, not {wanted}, after {deadline} s")
        time.sleep(0.05)


@contextmanager
def wire(lab: Lab) -> Iterator[Json]:
    """Count, while this is open, the addresses that clients were given on the wire, and those that two clients got."""
    counted: Json = {}
    place = lab.folder / "given.txt"
    with place.open("w") as output:
        listening = lab.popen("c", [sys.executable, "-m", "tests.chaos.given"], output)
    time.sleep(0.5)
    yield counted
    time.sleep(0.5)
    listening.kill()
    listening.wait()
    owners: dict[str, set[str]] = {}
    for one in read(place):
        owners.setdefault(one.address, set()).add(one.client)
    counted |= {"given": len(owners), "twice": sum(len(clients) > 1 for clients in owners.values())}


# --- clients of a pair that is at work


def ordinary_clients(rate: int = RATE, seconds: int = 3) -> Play:
    """Let as many clients ask as there are exchanges."""

    def play(lab: Lab, pair: Pair) -> Json:
        begin(pair)
        asked = pair.clients().run(rate, seconds, rate * seconds)
        return {
            **answers(asked),
            "states": told(pair),
            "refused": logged(pair.primary, "HA_LEASE_UPDATE_CONFLICT"),
            "discovers": pair.primary.ask("statistic-get-all")["pkt4-discover-received"][0][0],
        }

    return play


def storm(lab: Lab, pair: Pair) -> Json:
    """Let clients ask, each heard by four network cards at once, until twenty updates are refused or 600 have asked."""
    begin(pair)
    if begin_storm(lab, pair, 20, 1000.0, 600, 4).wait(60):
        raise LabError("the storm did not come to its end")
    time.sleep(3.0)
    return {"refused": logged(pair.primary, "HA_LEASE_UPDATE_CONFLICT"), "states": told(pair)}


def slow_storm(lab: Lab, pair: Pair) -> Json:
    """Let an update be refused every 0.8 s, 25 times at most; all clients renew when their time has come."""
    begin(pair)
    storming = begin_storm(lab, pair, 25, 1.25, 2000, 4, renewing=True)
    until = time.monotonic() + 60
    while storming.poll() is None and "terminated" not in pair.states() and time.monotonic() < until:
        time.sleep(0.2)
    storming.kill()
    storming.wait()
    time.sleep(2.0)
    return {"refused": logged(pair.primary, "HA_LEASE_UPDATE_CONFLICT"), "states": told(pair)}


def direct_clients(lab: Lab, pair: Pair) -> Json:
    """Let ten clients ask that no relay stands before, as perfdhcp's do."""
    begin(pair)
    begin_storm(lab, pair, 1000, 1000.0, 10, 1).wait(60)
    time.sleep(1.0)
    counted = pair.primary.ask("statistic-get-all")
    return {"offers": counted["pkt4-offer-sent"][0][0], "acked": counted["pkt4-ack-sent"][0][0]}


def power_on(lab: Lab, pair: Pair) -> Json:
    """Start both servers at once, and let clients ask from then on for ten seconds."""
    pair.start()
    asked = pair.clients().run(RATE, 10, CROWD)
    return {**answers(asked), "states": told(pair)}


def log_of_a_start(lab: Lab, pair: Pair) -> Json:
    """Start a pair and look for its way through the states in the log."""
    begin(pair)
    return {"changes": logged(pair.primary, "HA_STATE_TRANSITION")}


def second_log(lab: Lab, pair: Pair) -> Json:
    """Start a pair and look into the log of the second logger."""
    begin(pair)
    place = pair.primary.home / "log" / "second.log"
    return {"lines": len(place.read_text().splitlines()) if place.exists() else 0}


def lonely(lab: Lab, pair: Pair) -> Json:
    """Give both servers time to find each other, then let clients ask."""
    pair.start()
    time.sleep(8.0)
    with wire(lab) as counted:
        asked = pair.clients().run(50, 4, 200)
    time.sleep(1.0)
    one, other = (node.leases().keys() for node in pair.nodes)
    return {**answers(asked), **counted, "states": told(pair), "apart": len(one ^ other)}


def crowd(lab: Lab, pair: Pair) -> Json:
    """Let very many new clients ask at a time."""
    begin(pair)
    with wire(lab) as counted:
        asked = pair.clients().run(200, 4, 800)
    return {**answers(asked), **counted}


# --- the primary is gone


def _fail_over(pair: Pair) -> None:
    pair.primary.kill()
    pair.wait_states("down", "partner-down", 30)


def primary_dies(clients: int, *, seconds: int = 10) -> Play:
    """Kill the primary of a pair that is well; so many clients go on asking."""

    def play(lab: Lab, pair: Pair) -> Json:
        begin(pair)
        return _dies(pair, clients, seconds)

    return play


def unready_primary_dies(lab: Lab, pair: Pair) -> Json:
    """Kill the primary some seconds after the start of both, however far the standby has come."""
    pair.start()
    time.sleep(8.0)
    return _dies(pair, CROWD, 10)


def _dies(pair: Pair, clients: int, seconds: int) -> Json:
    pair.primary.kill()
    asked = pair.clients().run(RATE, seconds, clients, patient(seconds))
    return {**answers(asked), "state": pair.standby.state()}


def others_after_failover(lab: Lab, pair: Pair) -> Json:
    """Lease a hundred addresses, kill the primary, and let a hundred other clients ask the standby."""
    begin(pair)
    pair.clients().run(50, 2, CROWD, FIRST)
    before = pair.primary.leases()
    known = len(pair.standby.leases().keys() & before.keys())
    _fail_over(pair)
    return {"leased": len(before), "known": known, **_others(pair, pair.standby, before)}


def others_after_power_cut(lab: Lab, pair: Pair) -> Json:
    """Lease a hundred addresses, kill and start both servers, and let a hundred other clients ask."""
    begin(pair)
    pair.clients().run(50, 2, CROWD, FIRST)
    before = pair.primary.leases()
    for node in pair.nodes:
        node.kill()
    begin(pair)
    known = len(pair.primary.leases().keys() & before.keys())
    return {"leased": len(before), "known": known, **_others(pair, pair.primary, before)}


def _others(pair: Pair, serving: Node, before: dict[str, Json]) -> Json:
    asked = pair.clients().run(50, 2, CROWD, OTHERS)
    after = serving.leases()
    taken = [
        address
        for address in before.keys() & after.keys()
        if after[address]["hw-address"] != before[address]["hw-address"]
    ]
    return {**answers(asked), "taken": len(taken)}


def device_after_failover(say: Callable[[Told], str], before: Device, after: Device | None = None) -> Play:
    """Let one client ask before and after the primary is killed, afterwards perhaps as another; tell what it was told."""

    def play(lab: Lab, pair: Pair) -> Json:
        begin(pair)
        first = ask(lab, [before])[0]
        _fail_over(pair)
        second = ask(lab, [after or before])[0]
        return {"before": say(first) if first else "no answer", "after": say(second) if second else "no answer"}

    return play


def releases(lab: Lab, pair: Pair) -> Json:
    """Let twenty clients ask, each of which gives its address back at once."""
    begin(pair)
    answered = ask(lab, [Device(f"02:00:00:00:01:{number:02x}", releases=True) for number in range(20)])
    time.sleep(3.0)
    return {
        "answered": sum(one is not None for one in answered),
        "failed": logged(pair.primary, "HA_LEASE_UPDATE_FAILED"),
        "kept": sum(lease["state"] == 0 for lease in pair.standby.leases().values()),
    }


def named_clients_after_failover(lab: Lab, pair: Pair) -> Json:
    """Let ten clients with names ask before and ten after the primary is killed, and hear what the servers ask for in the DNS."""
    places = [lab.folder / f"names-{node.name}.txt" for node in pair.nodes]
    for node, place in zip(pair.nodes, places, strict=True):
        with place.open("w") as output:
            lab.popen(node.name, [sys.executable, "-c", _NAMES], output)
    begin(pair)
    devices = [Device(f"02:00:00:00:02:{number:02x}", host_name=f"client{number}") for number in range(20)]
    ask(lab, devices[:10])
    _fail_over(pair)
    ask(lab, devices[10:])
    time.sleep(1.0)
    before, after = (len(place.read_text().splitlines()) for place in places)
    return {"before": before, "after": after}


def leases_end(lab: Lab, pair: Pair) -> Json:
    """Lease a hundred addresses, kill the primary after 3 s, and see how many leases have ended once the standby serves."""
    begin(pair)
    pair.clients().run(50, 2, CROWD, FIRST)
    time.sleep(3.0)
    _fail_over(pair)
    now, leases = time.time(), pair.standby.leases().values()
    return {"leased": len(leases), "ended": sum(one["cltt"] + one["valid-lft"] <= now for one in leases)}


def same_client_after_failover(lab: Lab, pair: Pair) -> Json:
    """Let one client ask before and after the primary is killed."""
    begin(pair)
    pair.clients().run(1, 2, 1, FIRST)
    before = max(lease["valid-lft"] for lease in pair.standby.leases().values())
    _fail_over(pair)
    pair.clients().run(1, 2, 1, FIRST)
    return {"before": before, "after": max(lease["valid-lft"] for lease in pair.standby.leases().values())}


# --- the link is cut


def link_cut(seconds: float, *, asking: int = 8) -> Play:
    """Cut the link between the servers for a time, clients asking all the while; both are reached by clients."""

    def play(lab: Lab, pair: Pair) -> Json:
        begin(pair)
        clients = pair.clients()
        with wire(lab) as counted, pair.noting_states() as seen:
            pair.cut(abort=True)
            clients.start(50, asking, 50 * asking)
            time.sleep(seconds)
            states = told(pair)
            pair.mend()
            asked = clients.wait()
        alone = any(standby == "partner-down" for _, standby in seen)
        return {**answers(asked), **counted, "states": states, "alone": alone}

    return play


# --- a standby comes back


def rejoin_after_heartbeat(lab: Lab, pair: Pair) -> Json:
    """Let a primary serve alone, and the standby come back just after one of its heartbeats."""
    pair.primary.start()
    _wait(pair.primary.state, "partner-down", 70)
    clients = pair.clients()
    clients.start(RATE)
    try:
        time.sleep(0.5)
        pair.standby.start()
        pair.wait_normal(60)
        time.sleep(1.0)
    finally:
        asked = clients.stop()
    return {**answers(asked), "lost": asked.lost, "gap": round(asked.longest_gap, 1)}


def sync(leases: int, seconds: float) -> Play:
    """Let a standby without any lease sync from a primary of many, and wait for so many seconds at most."""

    def play(lab: Lab, pair: Pair) -> Json:
        pair.primary.write_leases(leases)
        pair.start()
        until = time.monotonic() + seconds
        while pair.states() != ("hot-standby", "hot-standby") and time.monotonic() < until:
            time.sleep(0.2)
        failed = logged(pair.standby, "HA_SYNC_FAILED") + logged(pair.standby, "HA_LEASES_SYNC_FAILED")
        return {
            "leases": leases,
            "held": pair.standby.lease_count(),
            "states": told(pair),
            "failed": failed,
            "sync": _took(pair.standby),
        }

    return play


def _took(node: Node) -> float | None:
    """Return the seconds of the last sync that succeeded."""
    lines = [
        line for line in node.log_path.read_text().splitlines() if re.search(r" HA_SYNC_(START|SUCCESSFUL) ", line)
    ]
    found = [
        (_moment(last) - _moment(first)).total_seconds()
        for first, last in pairwise(lines)
        if " HA_SYNC_START " in first and " HA_SYNC_SUCCESSFUL " in last
    ]
    return round(found[-1], 1) if found else None


def _moment(line: str) -> datetime:
    match = _STAMP.match(line)
    if not match:
        raise LabError(f"a line of the log has no time: {line}")
    return datetime.fromisoformat(match[1])


def second_rejoin(lab: Lab, pair: Pair) -> Json:
    """Let the standby go on out of its first pause, then make it rejoin by ha-reset, and see whether it waits again."""
    pair.start()
    pair.wait_states("hot-standby", "ready", 30)
    first = _held(pair)
    pair.standby.ask("ha-continue")
    pair.wait_normal()
    pair.standby.ask("ha-reset")
    time.sleep(8.0)
    return {"first": first, "second": _held(pair)}


def _held(pair: Pair) -> bool:
    """Return whether the standby stays in ready."""
    time.sleep(4.0)
    return pair.standby.state() == "ready"


def one_database(lab: Lab, pair: Pair) -> Json:
    """Restart the standby of a pair that has one SQL database, with 20,000 leases in it, while clients ask."""
    begin(pair)
    sql.query(lab, "-c", _MANY_LEASES)
    clients = pair.clients()
    clients.start(RATE, clients=RATE * 10)
    try:
        time.sleep(1.0)
        before = _written(lab)
        pair.standby.restart()
        pair.wait_normal(90)
        time.sleep(2.0)
    finally:
        asked = clients.stop()
    return {**answers(asked), "lost": asked.lost, "written": _written(lab) - before}


_MANY_LEASES = """
INSERT INTO lease4 (address, hwaddr, valid_lifetime, expire, subnet_id, fqdn_fwd, fqdn_rev, hostname, state)
SELECT 178257920 + number, decode(lpad(to_hex(number), 12, '0'), 'hex'), 4000, now() + interval '4000 s', 1, false, false, '', 0
FROM generate_series(1, 20000) AS number
"""
"""From 10.160.0.1 on, in the half of the pool that Kea reaches last."""


def _written(lab: Lab) -> int:
    """Return how often a row of the leases has been written."""
    return int(sql.query(lab, "-c", "SELECT n_tup_ins + n_tup_upd FROM pg_stat_user_tables WHERE relname = 'lease4'"))


# --- the rest


def hub(lab: Lab, pair: Pair) -> Json:
    """Let clients ask a primary that has a second relationship, of which the partner is not there."""
    pair.start()
    _wait(lambda: _first_state(pair.primary), "hot-standby", 40)
    return answers(pair.clients().run(RATE, 3, 3 * RATE))


def _first_state(node: Node) -> str:
    return str(node.status()["high-availability"][0]["ha-servers"]["local"]["state"])


def paused(lab: Lab, pair: Pair) -> Json:
    """Start a pair whose standby pauses in ready, and tell it to go on: by its control socket, or else by the HA listener."""
    for node in pair.nodes:
        node.launch()
    _wait(lambda: _heartbeat(lab, pair.standby), "ready", 40)
    try:
        continued = pair.standby.command("ha-continue")["result"] == 0
    except KeaSilentError:
        continued = _by_listener(lab, pair.standby, "ha-continue") == "answered"
    time.sleep(3.0)
    return {"continued": continued, "state": _heartbeat(lab, pair.standby)}


def late_interface(lab: Lab, pair: Pair) -> Json:
    """Start a pair while one of the primary's interfaces is down, take that up after 2 s, and let ten clients ask there."""
    begin(pair)
    time.sleep(2.0)
    lab.run_in("a", ["ip", "link", "set", LATE_INTERFACE, "up"])
    time.sleep(3.0)
    cards = [f"02:00:00:00:03:{number:02x}" for number in range(10)]
    told_to = ask(lab, [Device(card, interface=LATE_INTERFACE) for card in cards])
    return {"asked": len(cards), "acked": sum(one is not None for one in told_to), "states": told(pair)}


def renewals(lab: Lab, pair: Pair) -> Json:
    """Let ten clients get their leases again and again."""
    begin(pair)
    asked = pair.clients().run(100, 8, 10)
    time.sleep(4.0)
    files = (pair.primary.home / "data").glob("leases4.csv*")
    lines = sum(len(place.read_text().splitlines()) - 1 for place in files)
    return {"acked": asked.acked, "lines": lines, "leases": len(pair.primary.leases())}


_ASK = """
import json, sys, urllib.request
body = json.dumps({"command": sys.argv[2], "service": ["dhcp4"]}).encode()
request = urllib.request.Request(sys.argv[1], body, {"Content-Type": "application/json"})
try:
    answer = json.load(urllib.request.urlopen(request, timeout=5))[0]
    print(answer.get("arguments", {}).get("state", "answered") if answer["result"] == 0 else "refused")
except urllib.error.HTTPError as error:
    print("refused")
except OSError as error:
    print("down")
"""
_NAMES = """
import socket
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("127.0.0.1", 53001))
while True:
    print(heard.recv(65535)[2:].decode(), flush=True)
"""
"""Stands where kea-dhcp-ddns listens, and writes down what it is asked for (ncr_udp.cc: two bytes of length, then JSON)."""


def _by_listener(lab: Lab, node: Node, command: str) -> str:
    """Send a command to a server's HA listener from a host that is no server; return the state it tells, or what became of it."""
    return lab.run_in("w", [sys.executable, "-c", _ASK, node.ha_url, command]).strip()


def _heartbeat(lab: Lab, node: Node) -> str:
    return _by_listener(lab, node, "ha-heartbeat")


def stranger(lab: Lab, pair: Pair) -> Json:
    """Ask the HA listener for the configuration, from a host that has nothing to do with the pair."""
    begin(pair)
    return {"config_get": _by_listener(lab, pair.primary, "config-get")}


# --- what is changed


@dataclass(frozen=True)
class Setup:
    """How the laboratory's own configuration is changed, on each server."""

    primary: Callable[[Json], object]
    standby: Callable[[Json], object]


def on_both(change: Callable[[Json], object]) -> Setup:
    """Return one change for both servers."""
    return Setup(change, change)


def pause(state: str, how: str = "always") -> Callable[[Json], object]:
    """Return a change by which a server pauses in a state."""
    return in_ha(state_machine={"states": [{"state": state, "pause": how}]})


def url(port: int, host: str = "") -> str:
    """Return a URL for the standby."""
    return f"http://{host or ipv4('b')}:{port}/"


LATE_INTERFACE = "eth1"


def plug_in_late(lab: Lab) -> None:
    """Give the primary a second interface, which leads to the clients and is down."""
    lab.run_in(
        "a", ["ip", "link", "add", LATE_INTERFACE, "type", "veth", "peer", LATE_INTERFACE, "netns", f"{lab.name}-c"]
    )
    lab.run_in("a", ["ip", "address", "add", "172.16.0.1/16", "dev", LATE_INTERFACE])
    lab.run_in("c", ["ip", "link", "set", LATE_INTERFACE, "up"])


def second_relationship(config: Json) -> None:
    """Make the primary a hub: it has another relationship, with a partner that is not there."""
    spoke = copy.deepcopy(ha(config))
    spoke |= {
        "this-server-name": "hub",
        "peers": [
            {"name": "far", "url": f"http://{ipv4('w')}:8775/", "role": "primary"},
            {"name": "hub", "url": f"http://{ipv4('a')}:8775/", "role": "standby"},
        ],
    }
    ha_hook(config)["parameters"]["high-availability"].append(spoke)


def with_hook(name: str, parameters: Json) -> Callable[[Json], object]:
    """Return a change that adds a hook from where the HA hook is."""

    def change(config: Json) -> None:
        place = ha_hook(config)["library"].replace("_ha.so", f"_{name}.so")
        dhcp(config)["hooks-libraries"].append({"library": place, "parameters": parameters})

    return change


def without_socket(config: Json) -> None:
    """Take every control socket away."""
    for key in ("control-socket", "control-sockets"):
        dhcp(config).pop(key, None)
