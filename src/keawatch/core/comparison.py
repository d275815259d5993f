"""
Says what a comparison of two lease databases found, as a value that the journal, the diagnosis and people can use.

The counting is done in ``leases``; here is only what came of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

FEW = 10
"""Leases up to which no part of a database says anything: in a network of a dozen clients one is beyond any sensible cap."""


class Kind(StrEnum):
    """How two servers differ about one address, seen from the one whose word counts."""

    MISSING = "missing"
    """The other lacks it."""
    EXTRA = "extra"
    """Only the other has it."""
    OLDER = "older"
    """The other's record is of an earlier transaction (cltt) of the same client."""
    NEWER = "newer"
    """The other's record is of a later transaction of the same client."""
    OWNER = "owner"
    """The other has it leased to another client."""
    STATE = "state"
    """Leased, declined or released: they do not agree which."""
    DIFFERS = "differs"
    """Any other field."""


class Fate(StrEnum):
    """What becomes of a lease that only the other server has."""

    COPY = "copy"
    """It was given out, or renewed, while its server was alone: the authority gets it."""
    COPY_UNSEEN = "copy-unseen"
    """Nobody saw who gave it out, and a client may use it: the authority gets it."""
    DELETE = "delete"
    """The authority ended it, and the other did not hear of it."""


HARMLESS = frozenset({Kind.MISSING, Kind.OLDER})
"""Kinds that are mended without losing a record."""


@dataclass(frozen=True, slots=True)
class Example:
    """One difference, for people."""

    address: str
    kind: Kind
    authority: str
    """The server whose word counts for this address."""
    has: str | None
    """The authority's record in short; None when it has none."""
    other: str | None
    """The other server's record in short."""


@dataclass(frozen=True, slots=True)
class Rival:
    """One address that two clients were given."""

    address: str
    kept: str
    """The owner whose lease stays, with its server: the authority's."""
    lost: str
    """The owner whose lease is overwritten, with its server; that client goes on using the address until it renews."""
    until: datetime
    """When the losing client's lease runs out."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two lease databases side by side."""

    at: datetime
    """When it ended, in UTC."""
    why: str
    """What called for it, as a clause."""
    authority: str | None
    """The server whose word counts; None in load-balancing, where each has its own scope."""
    compared: Mapping[str, int]
    """Leases read of each server, also those that have run out and are not reclaimed yet."""
    counts: Mapping[Kind, int] = field(default_factory=dict)
    fates: Mapping[Fate, int] = field(default_factory=dict)
    """What would become of the extra ones."""
    settled: bool = True
    """False when some address changed each time it was looked at: it is not counted."""
    examples: tuple[Example, ...] = ()
    rivals: tuple[Rival, ...] = ()
    seconds: float = 0.0
    """How long it took."""
    suspicious: str | None = None
    """Why a database is not to be believed, as a sentence; None when both look whole."""
    hw_addresses: int = 0
    """Leases of the first server whose client's hardware address is known."""
    randomised: int = 0
    """Those of them whose address is a locally administered one: made up by the client, as telephones do for each network."""
    strays: tuple[str, ...] = ()
    """
    Records of one server, each as a sentence, whose address is not in their subnet: a lease file cut off in the middle of a line and
    written on leaves such a thing. No client can use it, no other server takes a copy of it, and it is no difference.
    """

    @property
    def differences(self) -> int:
        """Return how many addresses differ."""
        return sum(self.counts.values())

    @property
    def randomised_share(self) -> float | None:
        """Return the part of the leases that are of made-up hardware addresses, 0 to 1; None when no address is known."""
        return self.randomised / self.hw_addresses if self.hw_addresses else None

    @property
    def is_clean(self) -> bool:
        """Return whether nothing was found, nothing left uncounted, and both databases are believed."""
        return self.is_alike and self.suspicious is None

    @property
    def is_alike(self) -> bool:
        """Return whether nothing was found, and nothing left uncounted."""
        return not self.differences and self.settled

    @property
    def harmless(self) -> int:
        """
        Return how many differences can be mended without losing anything.

        A lease that the other server merely lacks, an earlier renewal of the same client's, and one that was seen to be given
        out alone: Kea's own sync writes as much.
        """
        return sum(self.counts.get(kind, 0) for kind in HARMLESS) + self.fates.get(Fate.COPY, 0)

    @property
    def risky(self) -> int:
        """Return how many changes would lose a record, or rest on nobody's testimony: what the cap is for."""
        return self.differences - self.harmless

    @property
    def share(self) -> float:
        """Return the risky changes as a part of the larger database; 0.0 when both are empty."""
        most = max(self.compared.values(), default=0)
        return self.risky / most if most else 0.0

    def is_beyond(self, cap: float) -> bool:
        """Return whether there are more risky changes than *cap*, a part of the larger database, allows; a few always are."""
        return self.risky > FEW and self.share > cap
