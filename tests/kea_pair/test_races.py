"""What Kea's own rejoining leaves apart (a late primary, a split) is found, told and reconciled, on real Kea."""

import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.kea_pair.databases import (
    Counts,
    Database,
    Key,
    Wish,
    alike,
    asking,
    both,
    judge,
    owner,
    rivals,
    wait_alike,
)
from tests.kea_pair.lab import Exchanges, Lab, Pair, PairSpec, Subnet, side_by_side
from tests.kea_pair.watching import Keawatch
from tests.kea_pair.watching import Wish as Told
from tests.kea_pair.whole import CROSSED, STRAIGHT, WHOLE, Case, named, turn

LATE_CASES = turn(CROSSED)
# In DHCPv6 how many addresses two clients get rests on how fast the small pools fill, hence on the machine.
SPLIT_CASES = [case for case in turn(STRAIGHT) if WHOLE or case[1] == 4]
LATE = 1000
FOUND_WITHIN = 90.0
RATE = 50
SPLIT_SECONDS = 12
SPLIT_RATE = {4: 30, 6: 15}
"""Exchanges a second; in DHCPv6 each is about an address and a prefix."""
# More clients come than it has addresses, so each server gives out what the other has given to somebody else.
SMALL = {
    4: Subnet("10.0.0.0/8", "10.128.0.0", "10.128.1.43"),
    6: Subnet("fd77::/32", "fd77:0:1::", "fd77:0:1::7f"),
}
# Others are leased all the while, or two owners of an address would be more of a database than may be changed unasked.
OTHERS = 2000
MENDED_AFTER = 5.0
"""Seconds between the last lease of a split and its mending, in which keawatch can look at both sides."""


def start_late(pair: Pair) -> None:
    """Start the standby alone, and the primary, which holds leases, when the standby has given it up."""
    alike(pair, Wish(pair.spec, LATE, Counts()), (pair.primary,))
    pair.standby.start()
    until = time.monotonic() + 20
    while pair.standby.state() != "partner-down":
        assert time.monotonic() < until, pair.standby.state()
        time.sleep(0.1)
    pair.primary.start()
    pair.wait_normal()


def split(pair: Pair) -> tuple[Database, Database]:
    """Cut the link between two servers that clients reach, and return what both hold when the clients have stopped."""
    pair.cut(abort=True)
    pair.wait_states("partner-down", "partner-down", 20)
    pair.clients().run(SPLIT_RATE[pair.spec.service], SPLIT_SECONDS, 5000, asking(pair.spec.service))
    time.sleep(MENDED_AFTER)
    return both(pair)


def heal_split(pair: Pair) -> None:
    """Mend the link and wait until Kea says that all is well."""
    pair.mend()
    pair.wait_normal()


@dataclass(frozen=True)
class Late:
    """What became of a pair whose primary came late."""

    at_first: int
    """Leases of the standby when both were normal."""
    seconds: float
    states: set[tuple[str, str]]
    exchanges: Exchanges
    counts: Counts
    held: tuple[int, int]
    kinds: set[str]
    """Of leases that the standby holds at the end: addresses, and in DHCPv6 prefixes."""


@pytest.fixture(scope="module")
def late(possible: None) -> dict[Case, Late]:
    return side_by_side(come_late, LATE_CASES)


def come_late(lab: Lab, case: Case) -> Late:
    """Let a primary come late while keawatch watches, and clients come as soon as the pair is normal."""
    version, service = case
    pair = lab.pair(PairSpec(version=version, service=service))
    watch = Keawatch(lab, pair, Told())
    watch.start()
    start_late(pair)
    at_first = pair.standby.lease_count()
    clients = pair.clients()
    clients.start(RATE, extra=asking(service))
    with pair.noting_states() as states:
        begun = time.monotonic()
        while pair.standby.lease_count() < LATE and time.monotonic() < begun + FOUND_WITHIN:
            time.sleep(0.2)
        seconds = time.monotonic() - begun
        time.sleep(2.0)
        exchanges = clients.stop()
    wait_alike(pair, 20)
    a, b = both(pair)
    watch.stop()
    return Late(at_first, seconds, set(states), exchanges, judge(a, b), (len(a), len(b)), {kind for kind, _ in b})


@pytest.mark.kea
@pytest.mark.parametrize("case", LATE_CASES, ids=named)
class TestAPrimaryThatComesLate:
    def test_leaves_a_standby_that_holds_none_of_its_leases(self, late: dict[Case, Late], case: Case) -> None:
        assert late[case].at_first == 0

    def test_is_found_and_reconciled_in_time(self, late: dict[Case, Late], case: Case) -> None:
        print(f"{named(case)}: the standby held the primary's {LATE} leases after {late[case].seconds:.1f} s")
        assert late[case].seconds < FOUND_WITHIN
        assert late[case].counts == Counts()
        assert min(late[case].held) >= LATE
        if case[1] == 6:
            assert late[case].kinds == {"IA_NA", "IA_PD"}

    def test_stays_in_hot_standby_all_the_while(self, late: dict[Case, Late], case: Case) -> None:
        assert late[case].states == {("hot-standby", "hot-standby")}

    def test_costs_no_client_an_exchange(self, late: dict[Case, Late], case: Case) -> None:
        print(f"{named(case)}: {late[case].exchanges}")
        assert late[case].exchanges.lost == 0
        assert late[case].exchanges.sent > RATE


@dataclass(frozen=True)
class Split:
    """What became of a pair that was split."""

    before: tuple[Database, Database]
    after: tuple[Database, Database]
    twice: set[Key]
    told: set[str]
    codes: set[str]


@pytest.fixture(scope="module")
def apart(possible: None) -> dict[Case, Split]:
    return side_by_side(fall_apart, SPLIT_CASES)


def fall_apart(lab: Lab, case: Case) -> Split:
    """Split a pair while keawatch watches, mend it, and wait until both hold the same."""
    version, service = case
    pair = lab.pair(PairSpec(version=version, service=service, subnets=(SMALL[service],)))
    alike(pair, Wish(PairSpec(version=version, service=service), OTHERS, Counts()))
    pair.start()
    pair.wait_normal()
    watch = Keawatch(lab, pair, Told())
    watch.start()
    watch.wait_for("OK", 20)
    before = split(pair)
    heal_split(pair)
    wait_alike(pair, FOUND_WITHIN)
    after = both(pair)
    told, codes = told_twice(watch)
    watch.stop()
    return Split(before, after, rivals(*before), told, codes)


def told_twice(watch: Keawatch) -> tuple[set[str], set[str]]:
    """Return the addresses of which keawatch's status tells that they have two owners, and the diagnoses there were."""
    history, status = watch.history(), watch.status()
    told = {rival["address"] for rival in status["leases"]["rivals"]}
    return told, {status["diagnosis"]["code"], *_codes(history)}


def _codes(value: Any) -> set[str]:
    """Return whatever is called a code, at any depth."""
    if isinstance(value, list):
        return set().union(*map(_codes, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    own = {value["code"]} if isinstance(value.get("code"), str) else set()
    return own.union(*map(_codes, value.values()))


@pytest.mark.kea
@pytest.mark.parametrize("case", SPLIT_CASES, ids=named)
class TestASplitThatIsMended:
    def test_had_given_addresses_to_two_clients(self, apart: dict[Case, Split], case: Case) -> None:
        a, b = apart[case].before
        print(f"{named(case)}: {len(a)} and {len(b)} leases, {judge(a, b)}")
        assert len(apart[case].twice) > 10
        assert a.keys() ^ b.keys()

    def test_leaves_no_difference(self, apart: dict[Case, Split], case: Case) -> None:
        assert judge(*apart[case].after) == Counts()

    def test_loses_no_lease_that_has_one_owner(self, apart: dict[Case, Split], case: Case) -> None:
        result = apart[case]
        given = result.before[0] | result.before[1]
        single = {key: owner(lease) for key, lease in given.items() if key not in result.twice}
        for server in result.after:
            assert {key: owner(server[key]) for key in single if key in server} == single

    def test_keeps_each_address_with_two_owners_for_one_of_them(self, apart: dict[Case, Split], case: Case) -> None:
        a, b = apart[case].before
        for key in apart[case].twice:
            assert owner(apart[case].after[0][key]) in (owner(a[key]), owner(b[key]))

    def test_has_every_address_with_two_owners_told(self, apart: dict[Case, Split], case: Case) -> None:
        addresses = {address for _, address in apart[case].twice}
        print(f"{named(case)}: {len(addresses)} addresses with two owners, {len(addresses & apart[case].told)} told")
        assert addresses - apart[case].told == set()
        assert "ADDRESS_TWICE" in apart[case].codes
