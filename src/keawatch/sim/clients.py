"""
Simulates DHCP clients that ask both servers at a steady rate, and counts the service they had.

An exchange is DISCOVER, OFFER, REQUEST, ACK; a client that was answered before asks for its address again.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from keawatch.sim.agenda import Agenda
from keawatch.sim.dhcp import Client
from keawatch.sim.server import SimServer

PATIENCE = 1.0
"""Seconds after which a client gives an exchange up."""


@dataclass(slots=True)
class Exchanges:
    """What became of the exchanges; times in seconds since the clients began."""

    rate: float
    sent: int = 0
    answered: int = 0
    lost: int = 0
    acks: list[float] = field(default_factory=list)
    ended: float = 0.0

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """Return when and how long there was no ACK although clients asked: longer than three usual intervals."""
        moments = [0.0, *self.acks, self.ended]
        shortest = max(3 / self.rate, 0.1)
        return [(before, after - before) for before, after in itertools.pairwise(moments) if after - before > shortest]

    @property
    def seconds_without_service(self) -> float:
        """Return how long clients were without service in all."""
        return sum(length - 1 / self.rate for _, length in self.gaps)


class Clients:
    """Clients of a pair."""

    def __init__(self, agenda: Agenda, servers: Sequence[SimServer], seed: int = 0) -> None:
        self._agenda = agenda
        self._servers = tuple(servers)
        self._random = random.Random(seed)  # noqa: S311
        self._waiting_since: dict[str, float] = {}
        self._run = 0
        self._begun = 0.0
        self._until = 0.0
        self.exchanges = Exchanges(1.0)

    @property
    def active(self) -> bool:
        """Tell whether clients ask at present."""
        return self._agenda.now < self._until

    def start(self, rate: float, seconds: float = float("inf"), clients: int = 100, first: int = 0) -> Exchanges:
        """Begin so many exchanges a second by so many different clients; the counts go on while time passes."""
        self._run += 1
        self._begun = self._agenda.now
        self._until = self._begun + seconds
        self.exchanges = Exchanges(rate)
        self._begin(self._run, 0, (first, clients))
        return self.exchanges

    def stop(self) -> Exchanges:
        """Begin no more exchanges, and return what became of those begun."""
        self._run += 1
        self._until = self._agenda.now
        self.exchanges.ended = self._agenda.now - self._begun
        return self.exchanges

    def _begin(self, run: int, number: int, who: tuple[int, int]) -> None:
        exchanges = self.exchanges
        if run != self._run:
            return
        exchanges.ended = self._agenda.now - self._begun
        if self._agenda.now >= self._until - 1e-9:
            return
        first, clients = who
        self._exchange(Client(_mac(first + number % clients)), exchanges)
        moment = self._begun + (number + 1) / exchanges.rate
        self._agenda.after(moment - self._agenda.now, lambda: self._begin(run, number + 1, who))

    def _exchange(self, client: Client, exchanges: Exchanges) -> None:
        exchanges.sent += 1
        since = self._waiting_since.setdefault(client.mac, self._agenda.now)
        patience = _Patience(self, client, exchanges)
        self._agenda.after(PATIENCE, patience.lose)
        seconds = float(int(self._agenda.now - since))
        offers = [(server, address) for server in self._hearing() if (address := self._offer(server, client, seconds))]
        if offers:
            server, address = offers[0] if len(offers) == 1 else self._random.choice(offers)
            self._agenda.after(0.0005, lambda: self._request(server, address, seconds, patience))

    def _hearing(self) -> list[SimServer]:
        # A server whose main thread is occupied takes no packets, and one that is frozen neither.
        return [server for server in self._servers if server.alive and not server.frozen and not server.blocked]

    def _offer(self, server: SimServer, client: Client, seconds: float) -> str | None:
        return server.dhcp.discover(client, seconds) if server.dhcp else None

    def _request(self, chosen: SimServer, address: str, seconds: float, patience: "_Patience") -> None:
        for server in self._hearing():
            if server is chosen and server.dhcp:
                server.dhcp.request(patience.client, address, seconds, patience.answer)

    def settle(self, client: Client, exchanges: Exchanges, *, answered: bool) -> None:
        """Note how an exchange ended."""
        if answered:
            exchanges.answered += 1
            exchanges.acks.append(self._agenda.now - self._begun)
            self._waiting_since.pop(client.mac, None)
        else:
            exchanges.lost += 1


class _Patience:
    """One exchange, until it is answered or given up."""

    def __init__(self, clients: Clients, client: Client, exchanges: Exchanges) -> None:
        self.client = client
        self._clients = clients
        self._exchanges = exchanges
        self._open = True

    def answer(self) -> None:
        """Take the ACK."""
        self._settle(answered=True)

    def lose(self) -> None:
        """Give up."""
        self._settle(answered=False)

    def _settle(self, *, answered: bool) -> None:
        if self._open:
            self._open = False
            self._clients.settle(self.client, self._exchanges, answered=answered)


def _mac(number: int) -> str:
    return "00:0c:" + ":".join(f"{byte:02x}" for byte in (number + 0x01020304).to_bytes(4, "big"))
