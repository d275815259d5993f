"""
Shows on a real pair what an operator's two resets cost the clients, and what keawatch costs them.

The same pair dies twice of a clock that runs ahead; clients ask all through. First two ``ha-reset`` are sent as an operator
would, standby first; then keawatch heals alone.

    python -m tests.kea_pair.demo
"""

import argparse
import time

from rich.console import Console
from rich.table import Table

from tests.kea_pair import roots
from tests.kea_pair.lab import Exchanges, Lab, LabError, Pair, PairSpec
from tests.kea_pair.watching import Keawatch, Wish

RATE = 20


def terminate(pair: Pair, console: Console) -> None:
    """Bring both servers to ``terminated`` and remove the cause."""
    pair.standby.skew(90)
    pair.wait_states("terminated", "terminated", 60)
    pair.standby.skew(0)
    console.print(f"  the standby's clock ran 90 s ahead: {' and '.join(pair.states())}; the clock is right again")


def by_hand(pair: Pair, heartbeat: float, console: Console) -> Exchanges:
    """Reset standby, then primary, again and again until the pair is back, as a patient operator does."""
    clients = pair.clients()
    clients.start(RATE, clients=5000)
    time.sleep(1)
    until = time.monotonic() + 20 * heartbeat + 30
    while pair.states() != ("hot-standby", "hot-standby"):
        for node in (pair.standby, pair.primary):
            if node.state() == "terminated":
                console.print(f"  ha-reset on {node.name}: {node.command('ha-reset')['text']}")
                time.sleep(heartbeat + 1)
        if time.monotonic() > until:
            console.print("  given up")
            break
        time.sleep(0.2)
    time.sleep(1)
    return clients.stop()


def by_keawatch(lab: Lab, pair: Pair, heartbeat: float, console: Console) -> Exchanges:
    """Let keawatch find and heal it."""
    clients = pair.clients()
    clients.start(RATE, clients=5000)
    watch = Keawatch(lab, pair, Wish(strategies=("seamless", "cover", "reset"), confirm_for=2.0))
    watch.start()
    time.sleep(1)
    console.print(f"  keawatch: {watch.status()['diagnosis']['sentence']}")
    watch.wait_for("OK", 10 * heartbeat + 30)
    time.sleep(1)
    exchanges = clients.stop()
    for end in watch.ends():
        console.print(f"  keawatch: {end['text']}")
    watch.stop()
    return exchanges


def show(version: str, heartbeat: float, leases: int) -> None:
    """Play both and print the exchanges lost side by side."""
    console = Console(highlight=False)
    console.print(
        f"Kea {version}, heartbeat-delay {heartbeat:g} s, {leases} leases, {RATE} exchanges a second all through"
    )
    with Lab() as lab:
        pair = lab.pair(
            PairSpec(
                version=version, heartbeat_delay=heartbeat, max_response_delay=6 * heartbeat, faketime=frozenset({"b"})
            )
        )
        pair.write_leases(leases)
        pair.start()
        console.print(f"  both are hot-standby after {pair.wait_normal(12 * heartbeat + 20):.0f} s")
        console.print("[b]By hand[/b]")
        terminate(pair, console)
        hand = by_hand(pair, heartbeat, console)
        pair.wait_normal(12 * heartbeat + 20)
        console.print("[b]By keawatch[/b]")
        terminate(pair, console)
        watched = by_keawatch(lab, pair, heartbeat, console)
    table = Table("way", "exchanges lost", "seconds without service", "longest gap")
    for way, seen in (("two resets by hand", hand), ("keawatch", watched)):
        gap = f"{seen.longest_gap:.1f} s"
        table.add_row(way, f"{seen.lost} of {seen.sent}", f"{seen.seconds_without_service:.1f}", gap)
    console.print(table)


def main() -> None:
    """Read the command line and play."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", default="2.6", choices=("2.6", "3.0"))
    parser.add_argument("--heartbeat", type=float, default=10.0)
    parser.add_argument("--leases", type=int, default=20000)
    chosen = parser.parse_args()
    try:
        roots.ensure([chosen.version])
        show(chosen.version, chosen.heartbeat, chosen.leases)
    except (roots.RootsUnavailableError, LabError) as error:
        raise SystemExit(f"the real pair can't be shown here: {error}") from error


if __name__ == "__main__":
    main()
