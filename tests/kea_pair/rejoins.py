"""
Restarts the standby of a pair under load, and measures what that costs the clients: with Kea alone, and with keawatch.

Kea's own pause depends on when the primary's next heartbeat falls, from nothing to a whole heartbeat-delay: each pair is
therefore restarted several times, and what was lost is added up.

    python -m tests.kea_pair.rejoins                # h = 10 s, 20,000 leases, five restarts each; about ten minutes
"""

import argparse
import itertools
import sys
import threading
import time
from dataclasses import dataclass

from tests.kea_pair.databases import Counts, both, judge
from tests.kea_pair.lab import Exchanges, Lab, LabError, Pair, PairSpec, side_by_side
from tests.kea_pair.watching import Keawatch, Wish

VERSIONS = ("2.6", "3.0")
AUTONOMIES = ("observe", "auto")
RATE = 20
HEARTBEAT = 5.0
LOOK = 0.02
"""Seconds between two looks at a standby that comes back."""


@dataclass(frozen=True)
class Case:
    """What is restarted, and how often."""

    version: str
    autonomy: str
    heartbeat: float = HEARTBEAT
    leases: int = 3000
    restarts: int = 2
    interval: float = 1.0


@dataclass(frozen=True)
class Restart:
    """What one restart came to; times are readings of the monotonic clock."""

    exchanges: Exchanges
    synced: float
    """When the standby said for the first time that it is ready, hence had synced."""

    @property
    def dark(self) -> float:
        """Return for how many seconds nobody was served from the end of the sync on."""
        at = self.synced - self.exchanges.begun
        return sum(max(0.0, begin + length - at) for begin, length in self.exchanges.gaps if begin <= at)


@dataclass(frozen=True)
class Rejoined:
    """What several restarts of a standby came to."""

    restarts: list[Restart]
    judged: Counts
    shortened: int
    """How often keawatch has ended the pause."""

    @property
    def lost(self) -> int:
        """Return how many exchanges were lost in all."""
        return sum(each.exchanges.lost for each in self.restarts)

    @property
    def lost_after_sync(self) -> float:
        """Return how many exchanges were lost after the ends of the syncs, by the time without an ACK."""
        return sum(each.dark * each.exchanges.rate for each in self.restarts)


class _Eye:
    """Notes when a standby is ready, beside what else goes on."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._stop = threading.Event()
        self._ready: float | None = None
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._stop.wait(LOOK) and self._ready is None:
            if self._pair.standby.state() in {"ready", "hot-standby"}:
                self._ready = time.monotonic()

    def ready(self) -> float:
        """Stop looking and return the moment; raises LabError when there was none."""
        self._stop.set()
        self._thread.join()
        if self._ready is None:
            raise LabError("the standby was never seen ready")
        return self._ready


def restart(lab: Lab, case: Case) -> Rejoined:
    """Let the standby go down and come back several times, with clients asking from just before it comes back."""
    h = case.heartbeat
    pair = lab.pair(PairSpec(version=case.version, heartbeat_delay=h, max_response_delay=2 * h))
    pair.write_leases(case.leases)
    pair.start()
    pair.wait_normal(60 + 6 * h)
    watch = Keawatch(lab, pair, Wish(autonomy=case.autonomy, interval=case.interval))
    watch.start()
    watch.wait_for("OK", 30)
    restarts = [_once(pair, 15 + 5 * h) for _ in range(case.restarts)]
    watch.wait_for("OK", 30)
    watch.wait_idle(30)
    plans = [entry for entry in watch.history() if entry["kind"] == "plan" and entry["text"].startswith("shorten")]
    watch.stop()
    return Rejoined(restarts, judge(*both(pair)), len(plans))


def _once(pair: Pair, patience: float) -> Restart:
    """Restart the standby once the primary serves alone, which it may take *patience* seconds to do."""
    pair.standby.kill()
    pair.wait_states("partner-down", "down", patience)
    clients = pair.clients()
    clients.start(rate=RATE)
    time.sleep(1.0)
    eye = _Eye(pair)
    try:
        pair.standby.start()
        pair.wait_normal(60)
    finally:
        ready = eye.ready()
    time.sleep(1.0)
    return Restart(clients.stop(), ready)


def main() -> None:
    """Print a table for people."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heartbeat", type=float, default=10.0)
    parser.add_argument("--leases", type=int, default=20000)
    parser.add_argument("--restarts", type=int, default=5)
    chosen = parser.parse_args()
    print(
        "| Kea | | exchanges lost | of these after the sync's end | seconds without service after it | leases that differ |"
    )
    print("|---|---|---|---|---|---|")
    for version in VERSIONS:
        cases = [
            Case(version, autonomy, chosen.heartbeat, chosen.leases, chosen.restarts, interval=2.0)
            for autonomy in AUTONOMIES
        ]
        for case, came in side_by_side(restart, cases, at_once=2).items():
            who = "keawatch" if case.autonomy == "auto" else "Kea alone"
            sent = sum(each.exchanges.sent for each in came.restarts)
            dark = " ".join(f"{each.dark:.2f}" for each in came.restarts)
            print(
                f"| {version} | {who} | {came.lost} of {sent} | {came.lost_after_sync:.0f} | {dark} | {came.judged.total} |",
                flush=True,
            )
            print(*(each.exchanges for each in came.restarts), sep="\n", file=sys.stderr)


CASES = [Case(version, autonomy) for version, autonomy in itertools.product(VERSIONS, AUTONOMIES)]
"""What the test restarts."""

if __name__ == "__main__":
    main()
