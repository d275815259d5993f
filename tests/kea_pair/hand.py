"""
A pair for experiments by hand:

    python -m tests.kea_pair.hand --version 2.6 --heartbeat 10 --leases 5000
"""

import argparse
import time

from tests.kea_pair.lab import Lab, LabError, Pair, PairSpec
from tests.kea_pair.pair import START_SECONDS
from tests.kea_pair.roots import SUITES


def main() -> None:
    """
    Start a pair, say where everything is, and stay until Ctrl-C or the time is up.
    """
    options = _options()
    spec = PairSpec(
        version=options.version,
        standby_version=options.standby_version,
        service=options.service,
        mode=options.mode,
        heartbeat_delay=options.heartbeat,
        max_response_delay=options.max_response or 4 * options.heartbeat,
        faketime=frozenset("b") if options.skew_cycle else frozenset(),
        agent=options.agent,
    )
    with Lab() as lab:
        pair = lab.pair(spec)
        if options.leases:
            pair.write_leases(options.leases)
        pair.start()
        _describe(lab, pair)
        try:
            _stay(pair, options)
        except KeyboardInterrupt:
            print("\nclosing")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", choices=SUITES, default="2.6", help="Kea of both servers")
    parser.add_argument("--standby-version", choices=SUITES, help="another Kea for the standby")
    parser.add_argument("--service", type=int, choices=(4, 6), default=4, help="DHCPv4 or DHCPv6")
    parser.add_argument("--mode", choices=("hot-standby", "load-balancing"), default="hot-standby")
    parser.add_argument("--heartbeat", type=float, default=10, help="heartbeat-delay, seconds")
    parser.add_argument("--max-response", type=float, help="max-response-delay, seconds (4 heartbeats)")
    parser.add_argument("--leases", type=int, default=0, help="leases on both servers from the beginning")
    parser.add_argument("--rate", type=int, default=0, help="exchanges a second by clients all the while")
    parser.add_argument("--agent", action="store_true", help="start Control Agents too")
    parser.add_argument(
        "--skew-cycle", action="store_true", help="skew b's clock until both are terminated, set it right"
    )
    parser.add_argument("--seconds", type=float, default=3600, help="longest stay")
    return parser.parse_args()


def _describe(lab: Lab, pair: Pair) -> None:
    print(f"laboratory {lab.name}, files in {lab.folder}")
    print(f"watcher: ip netns exec {lab.network.namespace('w')} COMMAND")
    for node in pair.nodes:
        print(f"{node.name}: Kea {node.version}, pid {node.pid}, namespace {lab.network.namespace(node.name)}")
        print(f"   socket {node.socket_path}\n   HA {node.ha_url}")
        if pair.spec.agent:
            print(f"   agent {node.agent_url}")
        if node.version == "3.0":
            print(f"   http {node.http_url}")


def _stay(pair: Pair, options: argparse.Namespace) -> None:
    clients = pair.clients()
    if options.rate:
        clients.start(options.rate)
    if options.skew_cycle:
        pair.wait_normal(6 * options.heartbeat + START_SECONDS)
        _skew_cycle(pair, 3 * options.heartbeat + 5)
    seen = None
    until = time.monotonic() + options.seconds
    while time.monotonic() < until:
        if (states := pair.states()) != seen:
            print(f"{time.strftime('%H:%M:%S')} {states[0]} / {states[1]}", flush=True)
            seen = states
        time.sleep(0.2)
    if options.rate:
        print(clients.stop())


def _skew_cycle(pair: Pair, deadline: float) -> None:
    pair.standby.skew(90)
    try:
        pair.wait_states("terminated", "terminated", deadline)
    except LabError as error:
        print(error)
    pair.standby.skew(0)
    print("b's clock was 90 s ahead and is right again")


if __name__ == "__main__":
    main()
