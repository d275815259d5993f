"""
Says who was serving when a lease was given out, as far as keawatch saw it: on this rests what becomes of a lease that only one has.

Kea keeps no record of who gave a lease out. Its ``cltt`` is the moment of its last transaction by the clock of the server
that answered; what that server and its partner were doing then is in the spells of the history, or it is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

from keawatch.core.comparison import Fate
from keawatch.core.model import SERVING_STATES, HaState, History, Mode, Spell

MARGIN = 30.0
"""Seconds before and after a lease's cltt that must be accounted for: clocks may differ by as much before Kea minds."""

_ALONE = frozenset({HaState.PARTNER_DOWN, HaState.PARTNER_IN_MAINTENANCE})
"""States in which a server answers the clients of its partner."""


@dataclass(frozen=True, slots=True)
class Testimony:
    """What was seen of both servers, for asking about a moment."""

    spells: tuple[Spell, ...] = ()
    mode: Mode = Mode.HOT_STANDBY
    clocks: bool = True
    """Whether both servers' clocks are known to go with keawatch's own: else no moment of theirs is one of ours."""

    def fate(self, authority: str, other: str, cltt: float) -> Fate:
        """Return what becomes of a lease that *other* has alone, last renewed at *cltt* (seconds since 1970, UTC)."""
        if self._answered_for(authority, other, cltt - MARGIN, cltt + MARGIN):
            return Fate.COPY
        if self._could_not(authority, other, cltt - MARGIN, cltt + MARGIN):
            return Fate.DELETE
        return Fate.COPY_UNSEEN

    def _answered_for(self, authority: str, other: str, begin: float, end: float) -> bool:
        """Return whether *other* answered the authority's clients: alone, or since it had been given their scope as well."""
        spells = self._during(other, begin, end)
        shared = self.mode is Mode.LOAD_BALANCING
        return any(spell.word in _ALONE or (shared and authority in spell.scopes) for spell in spells)

    def _could_not(self, authority: str, other: str, begin: float, end: float) -> bool:
        """Return whether *other* was seen all the time in a state in which it answers none of the authority's clients."""
        mine, its = self._during(authority, begin, end), self._during(other, begin, end)
        return (
            self.clocks
            and not any(_skewed(spell) for spell in (*mine, *its))
            and _covered(mine, begin, end)
            and _covered(its, begin, end)
            and all(spell.word in SERVING_STATES for spell in mine)
            and all(self._idle(spell.word) for spell in its)
        )

    def _idle(self, word: str) -> bool:
        idle = {HaState.WAITING, HaState.SYNCING, HaState.READY, HaState.HOT_STANDBY, HaState.LOAD_BALANCING}
        return word in idle or (word == HaState.TERMINATED and self.mode is Mode.HOT_STANDBY)

    def _during(self, server: str, begin: float, end: float) -> list[Spell]:
        return [
            spell
            for spell in self.spells
            if spell.server == server and spell.since.timestamp() <= end and spell.until.timestamp() >= begin
        ]


def testimony(history: History, mode: Mode) -> Testimony:
    """Return what *history* can tell of who served when."""
    seen = [observation.status for observation in history.newest] if history.snapshots else [None]
    offsets = [status.clock_offset if status else None for status in seen]
    clocks = all(offset is not None and abs(offset) <= MARGIN for offset in offsets)
    return Testimony(history.spells, mode, clocks=clocks)


def _skewed(spell: Spell) -> bool:
    """Return whether the clocks were apart when the spell began or was last seen."""
    return any(skew is not None and abs(skew) > MARGIN for skew in (spell.skew_at_first, spell.skew))


_HOLE = 15.0
"""Seconds between two spells of a server that count as unbroken: polls are further apart when one times out."""


def _covered(spells: list[Spell], begin: float, end: float) -> bool:
    """Return whether *spells*, oldest first, leave no hole between *begin* and *end* (or now, if that is earlier)."""
    reached = begin
    for spell in spells:
        if spell.since.timestamp() > reached + _HOLE:
            return False
        reached = max(reached, spell.until.timestamp())
    # The newest spell ends now: what is to come can't have been seen, and a lease can't come from it.
    return reached >= end - MARGIN
