"""
Says whether the whole of the slow matrices is to be played (`make kea-all`), or a part of them in which everything is met once.

`make test` has to end in reasonable time on two cores: there the versions take turns where a matrix crosses them with
something long. What is left out is measured by hand before a release, and its figures stand in the documentation.
"""

import os

WHOLE = "KEAWATCH_WHOLE" in os.environ

Case = tuple[str, int]
"""A Kea version and 4 or 6, for DHCPv4 or DHCPv6."""

STRAIGHT: list[Case] = [("2.6", 4), ("3.0", 6)]
CROSSED: list[Case] = [("2.6", 6), ("3.0", 4)]
"""What a scenario is played with, one or the other, so that both versions and both services are met by each."""


def turn(cases: list[Case]) -> list[Case]:
    """Return the cases that are to be played: both turns when the whole is."""
    return sorted(STRAIGHT + CROSSED) if WHOLE else cases


def named(case: Case) -> str:
    """Return the name that a case has among the tests."""
    return f"{case[0]}-v{case[1]}"
