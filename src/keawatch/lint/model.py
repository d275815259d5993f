"""Holds the words of lint: a configuration as it is looked at, a rule, what it hits, and the finding that is shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from keawatch.core.model import Version
from keawatch.lint.dialect import Where
from keawatch.lint.nodes import NOTHING, Node


class Severity(StrEnum):
    """How grave a finding is."""

    ERROR = "error"
    """Kea refuses it, or the pair can't work with it."""
    WARNING = "warning"
    INFO = "info"
    """True and worth knowing; the exit status does not change by it."""


class Maker(StrEnum):
    """Who writes the file."""

    HAND = "hand"
    PFSENSE = "pfsense"
    OPNSENSE = "opnsense"


@dataclass(frozen=True, slots=True)
class Subject:
    """One server's configuration, with what is known beside it."""

    server: str
    family: int
    dhcp: Node
    version: Version | None = None
    maker: Maker = Maker.HAND
    addresses: Mapping[str, tuple[str, ...]] | None = None
    """The IPv4 addresses of each interface of the server's host; None where the host is not this one."""
    file: str | None = None
    places: Mapping[str, Where] = field(default_factory=dict)
    whole: Node = NOTHING
    """All that stands in the file, of which ``dhcp`` is a part."""

    def before(self, *version: int, unknown: bool = True) -> bool:
        """Return whether the server is older than *version*; *unknown* where its version is not known."""
        return unknown if self.version is None else self.version < version

    @property
    def libraries(self) -> list[Node]:
        """Return the hook libraries."""
        return self.dhcp.maps("hooks-libraries")

    def hooks(self, name: str) -> list[Node]:
        """Return the entries of one hook library, such as ``ha``."""
        return [library for library in self.libraries if hook_name(library) == name]

    @property
    def relationships(self) -> list[Relationship]:
        """Return every HA relationship."""
        return [
            Relationship(self, one)
            for library in self.hooks("ha")
            for one in library.at("parameters").maps("high-availability")
        ]

    @property
    def subnets(self) -> list[Node]:
        """Return every subnet, also those of shared networks."""
        key = f"subnet{self.family}"
        inside = [subnet for network in self.dhcp.maps("shared-networks") for subnet in network.maps(key)]
        return [*self.dhcp.maps(key), *inside]


def hook_name(library: Node) -> str:
    """Return the name of a hook library without folder, prefix and suffix."""
    return re.sub(r"^libdhcp_|\.so$", "", library.text("library").rpartition("/")[2])


@dataclass(frozen=True, slots=True)
class Relationship:
    """One HA relationship, read with the defaults of its Kea (ha_config_parser.cc)."""

    subject: Subject
    node: Node

    @property
    def mode(self) -> str:
        """Return the mode."""
        return self.node.text("mode")

    @property
    def this_server(self) -> str:
        """Return the name of the server itself."""
        return self.node.text("this-server-name").strip()

    @property
    def peers(self) -> list[Node]:
        """Return the peers, itself among them."""
        return self.node.maps("peers")

    @property
    def me(self) -> Node:
        """Return its own entry among the peers."""
        return self.peer(self.this_server)

    def peer(self, name: str) -> Node:
        """Return the entry of a peer."""
        return next((peer for peer in self.peers if peer.text("name") == name), Node(None, self.node.path))

    @property
    def role(self) -> str:
        """Return its own role."""
        return self.me.text("role")

    def milliseconds(self, key: str) -> int:
        """Return a delay."""
        return self.node.number(key, DELAYS[key])

    @property
    def max_rejected(self) -> int:
        """Return after how many rejected clients it terminates; 0 is never."""
        return self.node.number("max-rejected-lease-updates", 10)

    @property
    def max_unacked(self) -> int:
        """Return how many unanswered clients it waits for."""
        return self.node.number("max-unacked-clients", 10)

    @property
    def core_threads(self) -> bool:
        """Return whether Kea itself is multi-threaded; by default from 2.3.5 on."""
        default = not self.subject.before(2, 3, 5, unknown=False)
        return self.subject.dhcp.at("multi-threading").flag("enable-multi-threading", default=default)

    @property
    def own_listener(self) -> bool:
        """Return whether the URL of its own entry is a listener of the server itself; else it is a Control Agent."""
        default = not self.subject.before(2, 3, 7, unknown=False)
        own = self.node.at("multi-threading")
        asked = [own.flag(key, default=default) for key in ("enable-multi-threading", "http-dedicated-listener")]
        return self.core_threads and all(asked)

    @property
    def restricted(self) -> bool:
        """Return whether its listener takes only the commands of HA; by default from 3.0 on."""
        return self.node.flag("restrict-commands", default=not self.subject.before(3, 0, 0, unknown=True))

    def tls(self, peer: Node, key: str) -> str:
        """Return a TLS file of a peer, or the one of all."""
        return peer.text(key) or self.node.text(key)

    @property
    def pauses(self) -> dict[str, Node]:
        """Return the states in which it pauses."""
        states = self.node.at("state-machine").maps("states")
        return {state.text("state"): state for state in states if state.text("pause", "never") != "never"}


DELAYS = {"heartbeat-delay": 10000, "max-response-delay": 60000, "max-ack-delay": 10000}
"""Milliseconds, by default."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The configurations of both servers, with the relationship between them where both have it."""

    a: Subject
    b: Subject

    @property
    def both(self) -> tuple[Relationship, Relationship] | None:
        """Return the relationship as each server has it."""
        left, right = self.a.relationships, self.b.relationships
        shared = [
            (one, other)
            for one in left
            for other in right
            if {peer.text("name") for peer in one.peers} & {peer.text("name") for peer in other.peers}
        ]
        if shared:
            return shared[0]
        return (left[0], right[0]) if len(left) == len(right) == 1 else None


@dataclass(frozen=True, slots=True)
class Paste:
    """What to write, and where."""

    at: str
    """The path of the map that gets it."""
    json: Any
    words: str = ""
    """What to do besides, or instead."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One place that a rule objects to."""

    path: str
    message: str
    fix: Paste | str | None = None
    server: str | None = None
    """Whose configuration the path is in; None in a rule over one configuration."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that is looked for."""

    id: str
    severity: Severity
    finds: str
    """What it finds, in a few words."""
    why: str
    source: str
    """A section of Kea's manual, or a file of its source."""
    look: Callable[[Any], Iterable[Hit]]
    pairwise: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What is shown."""

    rule: str
    severity: Severity
    server: str
    path: str
    message: str
    why: str
    fix: str | None
    source: str
    where: Where | None = None


class Registry:
    """Collects rules as they are written down."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def single(
        self, id_: str, severity: Severity, finds: str, *, why: str, source: str
    ) -> Callable[[Callable[[Subject], Iterable[Hit]]], Callable[[Subject], Iterable[Hit]]]:
        """Register a rule over one configuration."""

        def register(look: Callable[[Subject], Iterable[Hit]]) -> Callable[[Subject], Iterable[Hit]]:
            self.rules.append(Rule(id_, severity, finds, why, source, look))
            return look

        return register

    def relationship(
        self, id_: str, severity: Severity, finds: str, *, why: str, source: str
    ) -> Callable[[Callable[[Relationship], Iterable[Hit]]], Callable[[Relationship], Iterable[Hit]]]:
        """Register a rule over one configuration that looks at each of its HA relationships."""

        def register(look: Callable[[Relationship], Iterable[Hit]]) -> Callable[[Relationship], Iterable[Hit]]:
            def each(subject: Subject) -> Iterable[Hit]:
                return [hit for one in subject.relationships for hit in look(one)]

            self.rules.append(Rule(id_, severity, finds, why, source, each))
            return look

        return register

    def pair(
        self, id_: str, severity: Severity, finds: str, *, why: str, source: str
    ) -> Callable[[Callable[[Pair], Iterable[Hit]]], Callable[[Pair], Iterable[Hit]]]:
        """Register a rule over both configurations."""

        def register(look: Callable[[Pair], Iterable[Hit]]) -> Callable[[Pair], Iterable[Hit]]:
            self.rules.append(Rule(id_, severity, finds, why, source, look, pairwise=True))
            return look

        return register
