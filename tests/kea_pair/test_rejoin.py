"""An ordinary restart of the standby beside a primary that serves alone costs the clients less than with Kea alone."""

import pytest

from tests.kea_pair.databases import Counts
from tests.kea_pair.lab import side_by_side
from tests.kea_pair.rejoins import CASES, HEARTBEAT, RATE, VERSIONS, Rejoined, restart


@pytest.fixture(scope="module")
def rejoined(possible: None) -> dict[tuple[str, str], Rejoined]:
    """Restart the standby of four pairs side by side: both versions, Kea alone and with keawatch."""
    came = side_by_side(restart, CASES, at_once=4)
    return {(case.version, case.autonomy): each for case, each in came.items()}


@pytest.mark.kea
@pytest.mark.parametrize("version", VERSIONS)
class TestAStandbyThatComesBack:
    def test_costs_the_clients_less_than_with_kea_alone(
        self, rejoined: dict[tuple[str, str], Rejoined], version: str
    ) -> None:
        alone, watched = rejoined[version, "observe"], rejoined[version, "auto"]
        print(
            f"{version}: after the syncs Kea alone lost {alone.lost_after_sync:.0f}, keawatch {watched.lost_after_sync:.0f}"
        )
        # With Kea alone it is chance when the heartbeat falls: after half a heartbeat-delay in the mean.
        mean = RATE * HEARTBEAT / 2 * len(watched.restarts)
        assert watched.lost_after_sync < mean / 2

    def test_lacks_nothing_afterwards(self, rejoined: dict[tuple[str, str], Rejoined], version: str) -> None:
        assert rejoined[version, "auto"].judged == Counts()

    def test_had_its_pause_ended_by_keawatch_and_not_by_one_that_only_observes(
        self, rejoined: dict[tuple[str, str], Rejoined], version: str
    ) -> None:
        assert rejoined[version, "auto"].shortened > 0
        assert rejoined[version, "observe"].shortened == 0
