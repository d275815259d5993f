"""Two keawatches on one real pair heal it once, whichever of them is killed."""

import sys
import time
from dataclasses import dataclass

import pytest

from tests.kea_pair.lab import Lab, Pair, PairSpec, side_by_side
from tests.kea_pair.watching import Keawatch, Post, Wish
from tests.kea_pair.whole import WHOLE

STOOD_STILL = 5.0
"""Seconds in place of half a minute, in which a pair whose leader is silent has to stand still."""
HASTY = (
    "from keawatch.core import decision",
    f"decision.STOOD_STILL = {STOOD_STILL}",
    "from keawatch.cli.commands import main",
    "main()",
)
HEALS = ("seamless", "cover", "reset")


@dataclass(frozen=True)
class Case:
    """A version, and which keawatch is killed just before the pair can be healed, or where the leader dies on the way."""

    version: str
    killed: str | None = None
    crash: str | None = None


CASES = [Case("2.6"), Case("3.0", killed="a"), Case("3.0", crash="standby-reset:after")]
if WHOLE:
    CASES = [
        Case(version, killed, crash)
        for version in ("2.6", "3.0")
        for killed, crash in (
            (None, None),
            ("a", None),
            ("b", None),
            (None, "standby-reset:after"),
            (None, "primary-reset:after"),
        )
    ]


def posts() -> tuple[Post, Post]:
    """Return the keawatch beside a and the one beside b; each knows the other."""
    program = (sys.executable, "-c", "\n".join(HASTY))
    return (
        Post("beside-a", "127.0.0.1:9745", {"b": 'sibling = "http://127.0.0.1:9746"'}, program),
        Post("beside-b", "127.0.0.1:9746", {"a": 'sibling = "http://127.0.0.1:9745"'}, program),
    )


def play(lab: Lab, case: Case) -> dict[str, list[str]]:
    """Terminate a pair before the eyes of both, kill one, let the pair be healed; return who has healed how often and how."""
    pair = lab.pair(
        PairSpec(version=case.version, heartbeat_delay=1.0, max_response_delay=6.0, faketime=frozenset({"b"}))
    )
    pair.start()
    pair.wait_normal(40)
    pair.standby.skew(90)
    pair.wait_states("terminated", "terminated", 20)
    wish = Wish(strategies=("reset",), grace=1.0)
    watches = {post.name: Keawatch(lab, pair, wish, post=post) for post in posts()}
    leader = watches["beside-a"]
    for watch in watches.values():
        watch.start(crash=case.crash if watch is leader else None)
    for watch in watches.values():
        watch.wait_seen(60)
    if case.killed:
        watches.pop(f"beside-{case.killed}").kill()
    pair.standby.skew(0)
    if case.crash:
        assert leader.process.wait(60) == -9, "it was not killed: the step's command was never sent"
        leader.start()
    wait_healed(pair, watches)
    time.sleep(2.0)  # Whoever wanted to heal as well has confirmed it by now.
    done = {name: plans(watch) for name, watch in watches.items()}
    for watch in watches.values():
        watch.stop()
    return done


def wait_healed(pair: Pair, watches: dict[str, Keawatch]) -> None:
    """Wait until both servers are at work and every keawatch says so."""
    pair.wait_normal(60)
    for watch in watches.values():
        watch.wait_for("OK", 60)
        watch.wait_idle(60)


def plans(watch: Keawatch) -> list[str]:
    """Return how each healing that this keawatch began has ended."""
    ends = {entry["plan"]: entry["body"]["result"] for entry in watch.ends()}
    begun = [entry for entry in watch.history() if entry["kind"] == "plan"]
    return [ends.get(e["plan"], "open") for e in begun if e["body"]["plan"]["strategy"] in HEALS]


@pytest.fixture(scope="module")
def healed(possible: None) -> dict[Case, dict[str, list[str]]]:
    """Play every case, all at once."""
    done = side_by_side(play, CASES, 3)
    print(done)
    return done


@pytest.mark.kea
class TestTwoKeawatches:
    def test_heal_a_pair_once(self, healed: dict[Case, dict[str, list[str]]]) -> None:
        for case, done in healed.items():
            if not case.crash:
                assert [*done.get("beside-a", []), *done.get("beside-b", [])] == ["ok"], case

    def test_finish_what_a_dead_one_has_begun(self, healed: dict[Case, dict[str, list[str]]]) -> None:
        """Whoever comes first: the leader, started again, or the other, once the pair has stood still."""
        for case, done in healed.items():
            if case.crash:
                assert done["beside-a"] == ["ok"], case
                assert done["beside-b"] in ([], ["ok"]), case

    def test_leave_it_to_the_one_beside_the_primary_while_that_one_lives(
        self, healed: dict[Case, dict[str, list[str]]]
    ) -> None:
        for case, done in healed.items():
            assert case.killed == "a" or done["beside-a"] == ["ok"], case

    def test_do_not_need_each_other(self, healed: dict[Case, dict[str, list[str]]]) -> None:
        assert any(done["beside-b"] == ["ok"] for case, done in healed.items() if case.killed == "a")
