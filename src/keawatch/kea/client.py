"""
Asks and commands one server, at whichever of its addresses takes the command.

A question may be asked again elsewhere; a command that changes something is delivered at most once. What was found out about
the addresses and about the server is kept here, so that Kea is asked for nothing more often than it changes.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from keawatch.core.model import Answer, HaConfig, NoAnswer, Observation, ServerFacts, ServerStatus, Silence
from keawatch.core.pools import LeaseCounts
from keawatch.core.traffic import Traffic
from keawatch.errors import (
    KeaAuthenticationError,
    KeaCommandError,
    KeaConnectionError,
    KeaError,
    KeaForbiddenError,
    KeaProtocolError,
    KeaTimeoutError,
)
from keawatch.kea.configuration import dhcp_part, read_config
from keawatch.kea.fields import Fields
from keawatch.kea.places import Kind, Place, is_reading
from keawatch.kea.protocol import KeaOutcomeUnknownError, KeaUnreachableError, Reply
from keawatch.kea.race import Race, race, silence
from keawatch.kea.status import (
    Asked,
    read_lease_statistics,
    read_lease_table,
    read_leases_by_subnet,
    read_pools,
    read_statistic,
    read_status,
)
from keawatch.kea.transport import Transport

Clock = Callable[[], datetime]
First = TypeVar("First")
Second = TypeVar("Second")

_PATIENCE = 1 / 3
"""The part of a deadline after which the next address is asked as well."""

_INSIDE = 0.95
"""The part of a deadline that a transport gets, so that it can say itself what was missing."""

_JITTER = 1.5
"""Seconds by which a moment may seem to move because Kea counts ``uptime`` and ``reload`` in whole ones."""

_UNKNOWN = (KeaTimeoutError, KeaOutcomeUnknownError)


@dataclass(frozen=True, slots=True)
class _Counters:
    """The packet counters of a DHCP version by what they count."""

    received: str
    requests: tuple[str, ...]
    foreign: str
    """A request for another server's offer is counted and then dropped (dhcp4_srv.cc, acceptServerId); what HA leaves to the partner is
    dropped before it is counted as a request (buffer4_receive)."""
    answers: tuple[str, ...]
    offers: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    """Of the answers. A REPLY of DHCPv6 that refuses is counted as any other, and an ADVERTISE too."""

    def all(self) -> tuple[str, ...]:
        """Return each once."""
        return tuple(dict.fromkeys((self.received, *self.requests, self.foreign, *self.answers, *self.offers)))


_COUNTERS: Mapping[int, _Counters] = {
    4: _Counters(
        "pkt4-received",
        ("pkt4-request-received",),
        "pkt4-receive-drop",
        ("pkt4-ack-sent", "pkt4-nak-sent"),
        ("pkt4-offer-sent",),
        ("pkt4-nak-sent",),
    ),
    6: _Counters(
        "pkt6-received",
        ("pkt6-request-received", "pkt6-renew-received", "pkt6-rebind-received"),
        "pkt6-receive-drop",
        ("pkt6-reply-sent",),
    ),
}

_RECONFIGURES = frozenset({"config-set", "config-reload"})


@dataclass(frozen=True, slots=True)
class Who:
    """A server as the configuration names it."""

    name: str
    """Kea's this-server-name."""
    partner: str
    service: str = "dhcp4"

    @property
    def family(self) -> int:
        """Return 4 or 6."""
        return 6 if self.service == "dhcp6" else 4


class KeaServer:
    """One Kea server, with everything known about where and how it answers."""

    def __init__(self, who: Who, transports: Sequence[Transport], clock: Clock) -> None:
        self.who = who
        self.facts = ServerFacts()
        self.facts_wanted = True
        """True when the server was started, configured or heard again since its facts were read."""
        self._places = [Place(transport, who.service) for transport in transports]
        self._clock = clock
        self._was_silent = False
        self._started_at = self._configured_at = float("-inf")
        self._many_relationships = False
        self._config_hash: str | None = None
        self._complaint: str | None = None

    @property
    def name(self) -> str:
        """Return Kea's this-server-name."""
        return self.who.name

    async def aclose(self) -> None:
        """Close every connection."""
        for place in self._places:
            await place.transport.aclose()

    async def observe(self, deadline: float) -> Observation:
        """Return what the server says of itself within *deadline* seconds, or why it says nothing; raises no KeaError."""
        at, begun = self._clock(), _monotonic()
        try:
            async with asyncio.timeout(deadline):
                answer = self._heard(await self._race(deadline))
        except TimeoutError:
            answer = Silence(NoAnswer.TIMEOUT, f"no answer within {deadline:.1f} s")
        self._remember(answer)
        return Observation(self.name, at, answer, self.facts, _monotonic() - begun)

    async def _race(self, deadline: float) -> Race:
        until = _monotonic() + deadline * _INSIDE
        return await race(self._places, lambda place: self._ask_status(place, until), deadline * _PATIENCE)

    async def _ask_status(self, place: Place, until: float) -> ServerStatus:
        status, (beat, asked) = await _both(self._ask(place, "status-get", until), self._heartbeat(place, until))
        read = read_status(status.arguments, beat, asked)
        if read.ha and beat is None:
            return replace(read, note=f"{place.name} refuses ha-heartbeat, so the clock is unknown")
        return read

    async def _heartbeat(self, place: Place, until: float) -> tuple[Any, Asked]:
        # Kea wants to know which relationship is meant where there are several, and only there.
        arguments = {"server-name": self.name} if self._many_relationships else None
        asked_at, beat = self._clock(), None
        with contextlib.suppress(KeaCommandError, KeaForbiddenError):
            beat = (await place.question("ha-heartbeat", arguments, until - _monotonic())).arguments
        return beat, Asked(self.name, self.who.partner, asked_at, self._clock())

    async def _ask(self, place: Place, command: str, until: float) -> Reply:
        reply = await place.question(command, None, until - _monotonic())
        if command == "status-get" and isinstance(reply.arguments, dict):
            relationships = reply.arguments.get("high-availability")
            self._many_relationships = isinstance(relationships, list) and len(relationships) > 1
        return reply

    def _heard(self, found: Race) -> Answer:
        for place in (*found.hung, *(place for place, _ in found.failed)):
            place.silent = True
        if found.status is None or found.winner is None:
            return silence(found.failed)
        if found.winner.silent:
            found.winner.silent, found.winner.fresh, self.facts_wanted = False, False, True
        notes = [found.status.note, self._detour(found, found.winner), self._complaint]
        return replace(found.status, note="; ".join(note for note in notes if note) or None)

    def _detour(self, found: Race, winner: Place) -> str | None:
        missing = [str(error) for _, error in found.failed] + [f"{place.name} hangs" for place in found.hung]
        return f"{'; '.join(missing)}; {winner.describe()} answered" if missing else None

    def _remember(self, answer: Answer) -> None:
        if isinstance(answer, Silence):
            self._was_silent = True
            return
        now = _monotonic()
        started_at, configured_at = now - (answer.uptime or 0.0), now - (answer.reload or 0.0)
        restarted = answer.uptime is not None and started_at > self._started_at + _JITTER
        configured = answer.reload is not None and configured_at > self._configured_at + _JITTER
        if restarted:
            self._started_at = started_at
        if configured:
            self._configured_at = configured_at
        if restarted or configured:
            self._doubt()
        self.facts_wanted = self.facts_wanted or self._was_silent
        self._was_silent = False

    def _doubt(self) -> None:
        # A configuration brings its own hooks, hence commands; until asked anew, what was found is still the best guess.
        self.facts_wanted, self._config_hash = True, None
        for place in self._places:
            place.fresh = False

    async def refresh_facts(self, deadline: float = 10.0) -> None:
        """Read again what changes seldom, as far as it can be had in *deadline* seconds; raises no KeaError."""
        until = _monotonic() + deadline
        self.facts_wanted = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(deadline):
                # Half, so that one address that hangs leaves time for what another can tell.
                await self._probe(_monotonic() + deadline / 2)
                await self._refresh_config(until)
                await self._refresh_leases(until)
        self.facts = replace(
            self.facts,
            commands=frozenset[str]().union(*(place.commands for place in self._places)),
            addresses=tuple(place.describe() for place in self._places),
        )

    async def refresh_traffic(self, deadline: float = 4.0) -> None:
        """Read the packet counters again; without ``statistic-get`` there are none. Raises no KeaError."""
        until, at = _monotonic() + deadline, self._clock()
        traffic = None
        with contextlib.suppress(KeaError, TimeoutError):
            async with asyncio.timeout(deadline):
                if self._accepts("statistic-get"):
                    traffic = await self._traffic(at, until)
        self.facts = replace(self.facts, traffic=traffic)

    async def _traffic(self, at: datetime, until: float) -> Traffic:
        names = _COUNTERS[self.who.family]
        values = {name: await self._statistic(name, until) for name in names.all()}

        def count(counters: tuple[str, ...]) -> int:
            return sum(values[name] for name in counters)

        up = _monotonic() - self._started_at
        return Traffic(
            at,
            values[names.received],
            count(names.requests) - values[names.foreign],
            count(names.answers),
            count(names.offers),
            count(names.refusals),
            up if math.isfinite(up) else None,
        )

    async def _statistic(self, name: str, until: float) -> int:
        reply = await self.read("statistic-get", {"name": name}, deadline=until - _monotonic())
        return read_statistic(reply.arguments, name)

    async def _refresh_config(self, until: float) -> None:
        version = next((place.found.version for place in self._places if place.found and place.found.version), None)
        self.facts = replace(self.facts, version=version or self.facts.version)
        if not self._accepts("config-get"):
            return
        self._complaint = None
        with contextlib.suppress(KeaError):
            try:
                await self._reread_config(until)
            except KeaProtocolError as error:
                self._complaint = str(error)

    async def _reread_config(self, until: float) -> None:
        fingerprint = await self._fingerprint(until)
        if fingerprint is None or fingerprint != self._config_hash:
            ha, subnets = await self._config(until)
            self.facts = replace(self.facts, ha=ha, subnets=subnets)
            self._config_hash = fingerprint
        self._recognise()

    async def _fingerprint(self, until: float) -> str | None:
        if not self._accepts("config-hash-get"):
            return None
        reply = await self.read("config-hash-get", deadline=until - _monotonic())
        return Fields(reply.arguments, "config-hash-get").text("hash")

    async def _config(self, until: float) -> tuple[HaConfig | None, dict[int, str]]:
        reply = await self.read("config-get", deadline=until - _monotonic())
        family, _ = dhcp_part(reply.arguments)
        if family != self.who.family:
            raise KeaProtocolError(
                f"{self.name} is a dhcp{family} server, and the pair's service is {self.who.service}"
            )
        return read_config(reply.arguments, self.facts.version, server=self.name, partner=self.who.partner)

    def _recognise(self) -> None:
        ha = self.facts.ha
        for peer in ha.peers if ha and ha.dedicated_listener else ():
            for place in self._places if peer.name == self.name else ():
                place.recognise(peer.url)

    async def _refresh_leases(self, until: float) -> None:
        table, statistics = f"stat-lease{self.who.family}-get", "statistic-get-all"
        for command, count in ((table, read_lease_table), (statistics, read_lease_statistics)):
            # The HA listener of 2.2 fails at the table, though it takes the command.
            with contextlib.suppress(KeaError):
                reply = await self.read(command, deadline=until - _monotonic())
                self.facts = replace(self.facts, leases=count(reply.arguments))
                return

    async def read(self, command: str, arguments: Mapping[str, Any] | None = None, *, deadline: float) -> Reply:
        """Return the answer to a question, of whichever address gives one; ValueError for what is no mere question."""
        if not is_reading(command):
            raise ValueError(f"{command} changes something and must be sent")
        until = _monotonic() + deadline
        failures: list[KeaError] = []
        for place in await self._takers(command, until):
            try:
                return await place.question(command, arguments, until - _monotonic())
            except KeaCommandError:
                raise
            except KeaError as error:
                failures.append(error)
        raise self._nowhere(command, failures)

    async def send(self, command: str, arguments: Mapping[str, Any] | None = None, *, deadline: float) -> Reply:
        """
        Deliver a command once and return Kea's answer.

        Another address is tried only where it is certain that the command did not arrive or was refused unread. Whether it was
        carried out is unknown after a KeaTimeoutError or KeaOutcomeUnknownError; after any other KeaError it was not.
        """
        until = _monotonic() + deadline
        failures: list[KeaError] = []
        for place in await self._takers(command, until):
            if failures and _monotonic() >= until:
                break
            try:
                return await self._tell(place, command, arguments, until)
            except _UNKNOWN:
                raise
            except (KeaConnectionError, KeaForbiddenError, KeaAuthenticationError) as error:
                failures.append(error)
        raise self._nowhere(command, failures)

    async def _tell(self, place: Place, command: str, arguments: Mapping[str, Any] | None, until: float) -> Reply:
        try:
            return await place.tell(command, arguments, until - _monotonic())
        except KeaTimeoutError as error:
            raise KeaTimeoutError(f"{error}; whether {command} was carried out is unknown") from error
        except (KeaOutcomeUnknownError, KeaProtocolError) as error:
            raise KeaOutcomeUnknownError(f"{error}; whether {command} was carried out is unknown") from error
        finally:
            if command in _RECONFIGURES:
                self._doubt()

    def route(self, command: str) -> str:
        """Return the address that *command* would go to, with its kind; KeaForbiddenError when none is known to take it."""
        takers = self._ordered(command)
        if takers:
            return takers[0].describe()
        raise self._nowhere(command, [])

    def takes(self, command: str) -> bool:
        """Return whether some address is known to take *command*."""
        return self._accepts(command)

    async def lease_counts(self, deadline: float) -> LeaseCounts | None:
        """
        Return the assigned leases by subnet id, counted in the store itself (``stat-lease4-get``), and how full each pool is.

        Without that command it is their sum, under 0, by the statistics (which drift after a sync, up to 3.0); None where neither
        can be had. Raises no KeaError.
        """
        until = _monotonic() + deadline
        with contextlib.suppress(KeaError):
            reply = await self.read(f"stat-lease{self.who.family}-get", deadline=deadline)
            return LeaseCounts(read_leases_by_subnet(reply.arguments), read_pools(reply.arguments))
        with contextlib.suppress(KeaError):
            reply = await self.read("statistic-get-all", deadline=until - _monotonic())
            total = read_lease_statistics(reply.arguments)
            return None if total is None else LeaseCounts({0: total})
        return None

    async def packets_received(self, deadline: float) -> int | None:
        """Return how many packets of clients Kea has received since it began; None where it does not say. Raises no KeaError."""
        with contextlib.suppress(KeaError):
            return await self._statistic(_COUNTERS[self.who.family].received, _monotonic() + deadline)
        return None

    async def _takers(self, command: str, until: float) -> list[Place]:
        if not self._accepts(command):
            failures = await self._probe(until)
            if failures and not self._accepts(command):
                error = self._nowhere(command, failures)
                # Only the question what is taken there was lost, not the command.
                raise KeaUnreachableError(str(error)) if isinstance(error, _UNKNOWN) else error
        return self._ordered(command)

    def _ordered(self, command: str) -> list[Place]:
        return sorted((place for place in self._places if place.accepts(command)), key=lambda place: place.silent)

    def _accepts(self, command: str) -> bool:
        return any(place.accepts(command) for place in self._places)

    async def _probe(self, until: float) -> list[KeaError]:
        remaining = until - _monotonic()
        asked = await asyncio.gather(*(_bounded(place, remaining) for place in self._places if not place.fresh))
        return [error for error in asked if error]

    def _nowhere(self, command: str, failures: Sequence[KeaError]) -> KeaError:
        begin = f"{self.name} takes {command} at none of its addresses"
        telling = [error for error in failures if not isinstance(error, KeaForbiddenError)]
        if telling:
            kind = KeaProtocolError if isinstance(telling[0], KeaCommandError) else type(telling[0])
            return kind(f"{begin}: {'; '.join(str(error) for error in failures)}")
        places = "; ".join(place.describe() for place in self._places) or "none is configured"
        return KeaForbiddenError(f"{begin} ({places}); {self._advice()}")

    def _advice(self) -> str:
        if not all(place.found for place in self._places):
            return "it may at one that has not answered yet"
        if any(place.found and place.found.kind is Kind.LISTENER for place in self._places):
            return "give keawatch its control socket or a Control Agent"
        return "load the hook the command belongs to"


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


async def _bounded(place: Place, seconds: float) -> KeaError | None:
    try:
        async with asyncio.timeout(seconds):
            await place.probe(seconds)
    except TimeoutError:
        return KeaTimeoutError(f"{place.name} did not say within {seconds:.1f} s what it takes")
    except KeaError as error:
        return error
    return None


async def _both(one: Coroutine[Any, Any, First], other: Coroutine[Any, Any, Second]) -> tuple[First, Second]:
    try:
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(one), group.create_task(other)
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return first.result(), second.result()
