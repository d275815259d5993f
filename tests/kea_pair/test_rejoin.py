"""
An ordinary restart of the standby beside a primary that serves alone: what it costs the clients with Kea alone, and with keawatch.

Kea's own pause depends on when the primary's next heartbeat falls, from nothing to a whole heartbeat-delay: each pair is
therefore restarted several times, and what was lost is added up.
"""

import itertools
import time
from dataclasses import dataclass

import pytest

from tests.kea_pair.databases import Counts, both, judge
from tests.kea_pair.lab import Exchanges, Lab, PairSpec, side_by_side
from tests.kea_pair.watching import Keawatch, Wish

VERSIONS = ("2.6", "3.0")
AUTONOMIES = ("observe", "auto")
HEARTBEAT = 5.0
RESTARTS = 2
RATE = 20


@dataclass(frozen=True)
class Rejoined:
    """What several restarts of a standby came to."""

    exchanges: list[Exchanges]
    judged: Counts
    shortened: int
    """How often keawatch has ended the pause."""

    @property
    def lost(self) -> int:
        """Return how many exchanges were lost in all."""
        return sum(seen.lost for seen in self.exchanges)


@pytest.fixture(scope="module")
def rejoined(possible: None) -> dict[tuple[str, str], Rejoined]:
    """Restart the standby of four pairs side by side: both versions, Kea alone and with keawatch."""
    return side_by_side(restart, list(itertools.product(VERSIONS, AUTONOMIES)), at_once=4)


def restart(lab: Lab, case: tuple[str, str]) -> Rejoined:
    """Let the standby go down and come back several times, with clients asking from just before it comes back."""
    version, autonomy = case
    pair = lab.pair(PairSpec(version=version, heartbeat_delay=HEARTBEAT, max_response_delay=2 * HEARTBEAT))
    pair.write_leases(3000)
    pair.start()
    pair.wait_normal(60)
    watch = Keawatch(lab, pair, Wish(autonomy=autonomy, interval=1.0))
    watch.start()
    watch.wait_for("OK", 30)
    exchanges = []
    for _ in range(RESTARTS):
        pair.standby.kill()
        pair.wait_states("partner-down", "down", 40)
        clients = pair.clients()
        clients.start(rate=RATE)
        time.sleep(1.0)
        pair.standby.start()
        pair.wait_normal(60)
        time.sleep(1.0)
        exchanges.append(clients.stop())
    watch.wait_for("OK", 30)
    watch.wait_idle(30)
    plans = [entry for entry in watch.history() if entry["kind"] == "plan" and entry["text"].startswith("shorten")]
    watch.stop()
    return Rejoined(exchanges, judge(*both(pair)), len(plans))


@pytest.mark.kea
@pytest.mark.parametrize("version", VERSIONS)
class TestAStandbyThatComesBack:
    def test_costs_the_clients_less_than_with_kea_alone(
        self, rejoined: dict[tuple[str, str], Rejoined], version: str
    ) -> None:
        alone, watched = rejoined[version, "observe"], rejoined[version, "auto"]
        print(f"{version}: Kea alone lost {alone.lost} exchanges, keawatch {watched.lost}")
        assert watched.lost < alone.lost / 2

    def test_lacks_nothing_afterwards(self, rejoined: dict[tuple[str, str], Rejoined], version: str) -> None:
        assert rejoined[version, "auto"].judged == Counts()

    def test_had_its_pause_ended_by_keawatch_and_not_by_one_that_only_observes(
        self, rejoined: dict[tuple[str, str], Rejoined], version: str
    ) -> None:
        assert rejoined[version, "auto"].shortened > 0
        assert rejoined[version, "observe"].shortened == 0
