"""
DHCP clients of a laboratory: perfdhcp, and what its report says about the service they had.
"""

import itertools
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kea_pair.net import LabError, Launcher, run

LONGEST_SECONDS = 900
# perfdhcp goes on receiving that long after its last packet, or the last exchange would count as lost.
GRACE_SECONDS = 0.5
GAP_SECONDS = 0.1
OFFERS = {4: "DISCOVER-OFFER", 6: "SOLICIT-ADVERTISE"}
ACKS = {4: "REQUEST-ACK", 6: "REQUEST-REPLY"}
_numbers = itertools.count()


@dataclass(frozen=True)
class Exchanges:
    """
    The service that clients had: how many exchanges they began, and when each one that succeeded did.

    Times are in seconds; acks holds the moments of the ACKs (REPLYs) since begun, which is a reading of the
    monotonic clock (a few hundredths of a second early: perfdhcp has yet to start).
    """

    sent: int
    offered: int
    requested: int
    acks: tuple[float, ...]
    orphans: int
    rate: int
    begun: float
    seconds: float

    @property
    def acked(self) -> int:
        """
        Return how many exchanges ended in an ACK.
        """
        return len(self.acks)

    @property
    def lost(self) -> int:
        """
        Return how many exchanges did not end in an ACK.
        """
        return self.sent - self.acked

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """
        Return when and how long there was no ACK although clients asked: longer than three times the usual interval.
        """
        moments = (0.0, *self.acks, self.seconds)
        shortest = max(3 / self.rate, GAP_SECONDS)
        pairs = itertools.pairwise(moments)
        return [(before, after - before) for before, after in pairs if after - before > shortest]

    @property
    def longest_gap(self) -> float:
        """
        Return the longest time without an ACK, the usual interval if there was no gap.
        """
        return max((length for _, length in self.gaps), default=1 / self.rate)

    @property
    def seconds_without_service(self) -> float:
        """
        Return how long clients were without service in all.
        """
        return sum(length - 1 / self.rate for _, length in self.gaps)

    @property
    def per_second(self) -> list[int]:
        """
        Return how many ACKs came in each second.
        """
        counts = [0] * (int(self.seconds) + 1)
        for moment in self.acks:
            counts[min(int(moment), len(counts) - 1)] += 1
        return counts

    def __str__(self) -> str:
        return (
            f"{self.lost} of {self.sent} exchanges lost in {self.seconds:.1f} s ({self.offered} offered, {self.requested} requested), "
            f"{self.seconds_without_service:.2f} s without service, longest gap {self.longest_gap:.3f} s"
        )


class Clients:
    """
    Clients on host c that ask for leases at a steady rate.
    """

    def __init__(self, lab: Launcher, perfdhcp: Sequence[str], service: int) -> None:
        self._lab = lab
        self._perfdhcp = list(perfdhcp)
        self._service = service
        self._process: subprocess.Popen[str] | None = None
        self._report = lab.folder / f"perfdhcp-{next(_numbers)}.txt"
        self._rate = 0
        self._begun = 0.0
        self._counted = (0, 0)
        self._asked: int | None = None
        """How many questions had been sent when it was interrupted, if no exchange was under way then."""
        self._bound: float = LONGEST_SECONDS

    def start(self, rate: int, seconds: int | None = None, clients: int = 100, extra: Sequence[str] = ()) -> None:
        """
        Begin so many exchanges a second, by so many different clients, for a time or until stop (at most 900 s).
        """
        if self._process:
            raise LabError("clients run already")
        self._rate, self._asked = rate, None
        self._bound = min(seconds or LONGEST_SECONDS, LONGEST_SECONDS)
        # -x t adds the moment of every successful exchange to the report.
        options = ["-r", rate, "-R", clients, "-p", self._bound, "-W", round(GRACE_SECONDS * 1e6), "-x", "t", *extra]
        command = [*self._perfdhcp, f"-{self._service}", "-l", "eth0", *(str(option) for option in options)]
        table = run(*self._lab.network.enter("c", ["cat", f"/proc/net/{_TABLES[self._service]}"]))
        self._counted = _datagrams(table, self._service)
        with self._report.open("w") as report:
            self._begun = time.monotonic()
            self._process = self._lab.popen("c", command, report)

    def stop(self) -> Exchanges:
        """
        Stop asking, between two exchanges if there is such a moment, and say what service there was.
        """
        process = self._running()
        if process.poll() is None:
            self._asked = _interrupt(process, self._rate, self._service, self._counted)
            self._bound = min(self._bound, time.monotonic() - self._begun)
        return self.wait()

    def wait(self) -> Exchanges:
        """
        Wait for the time given to start, and say what service there was.
        """
        process = self._running()
        left = self._begun + self._bound + GRACE_SECONDS - time.monotonic()
        # It writes down each exchange's moment then: 87,000 took over 10 s beside other work on one core.
        process.wait(max(left, 0) + 10 + self._rate * self._bound / 1000)
        self._process = None
        report = self._report.read_text()
        if process.returncode not in (0, 3):
            # 3 says that packets were lost, which is for the test to judge.
            raise LabError(f"perfdhcp ended with {process.returncode}:\n{report[-2000:]}")
        return self._parse(report)

    def run(self, rate: int, seconds: int, clients: int = 100, extra: Sequence[str] = ()) -> Exchanges:
        """
        Ask for so many seconds, and say what service there was.
        """
        self.start(rate, seconds, clients, extra)
        return self.wait()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None:
            raise LabError("no clients run")
        return self._process

    def _parse(self, report: str) -> Exchanges:
        offers = _section(report, f"Statistics for: {OFFERS[self._service]}")
        acks = _section(report, f"Statistics for: {ACKS[self._service]}")
        moments = _section(report, f"Timestamps for packets: {ACKS[self._service]}")
        sent, offered = _number(offers, "sent packets"), _number(offers, "received packets")
        requested = _number(acks, "sent packets")
        # Stopped just before it sent, it sends once more when it goes on, and reads no answer to that: nobody asked by then.
        late = 0 if self._asked is None else min(sent + requested - self._asked, sent - offered)
        return Exchanges(
            sent=sent - max(late, 0),
            offered=offered,
            requested=requested,
            acks=tuple(sorted(_seconds(moment) for moment in re.findall(r"/ ([\d.]+)$", moments, re.MULTILINE))),
            orphans=_number(offers, "orphans") + _number(acks, "orphans"),
            rate=self._rate,
            begun=self._begun,
            seconds=float(self._bound),
        )


def _section(report: str, title: str) -> str:
    # A pair that answered nothing has no timestamps.
    return report.partition(f"***{title}***")[2].partition("***")[0]


def _seconds(moment: str) -> float:
    """
    Return a moment as perfdhcp writes it, 000100.250000 for a minute and a quarter of a second.
    """
    whole, _, fraction = moment.partition(".")
    hours, minutes, seconds = int(whole[:-4]), int(whole[-4:-2]), int(whole[-2:])
    return 3600 * hours + 60 * minutes + seconds + float(f"0.{fraction or 0}")


def _number(section: str, name: str) -> int:
    match = re.search(rf"^{name}: (\d+)$", section, re.MULTILINE)
    if not match:
        raise LabError(f"perfdhcp's report names no {name!r}")
    return int(match.group(1))


@dataclass(frozen=True)
class _Counters:
    """
    What perfdhcp has sent and read since it began, and how often its main loop has slept since then.
    """

    sent: int
    read: int
    slept: int

    @property
    def settled(self) -> bool:
        """
        Return whether no exchange is under way, given that all went well so far: each is two questions and two answers.
        """
        return self.sent == self.read and self.sent % 2 == 0


# Datagrams, not packets: an address that is asked for by ARP is no part of an exchange. One counts as read when perfdhcp has
# read it.
_TABLES = {4: "snmp", 6: "snmp6"}
_FIELDS = {
    4: r"^Udp: (?P<read>\d+) \d+ \d+ (?P<sent>\d+) ",
    6: r"^Udp6InDatagrams\s+(?P<read>\d+)$.*^Udp6OutDatagrams\s+(?P<sent>\d+)$",
}


def _datagrams(table: str, service: int) -> tuple[int, int]:
    found = re.search(_FIELDS[service], table, re.MULTILINE | re.DOTALL)
    if not found:
        raise LabError(f"the kernel's counters name no datagrams of DHCPv{service}:\n{table}")
    return int(found["sent"]), int(found["read"])


def _interrupt(process: subprocess.Popen[str], rate: int, service: int, begun: tuple[int, int]) -> int | None:
    """
    Interrupt perfdhcp between two exchanges, if there is such a moment: one that it is interrupted in would count as lost.

    Return how many questions it had sent by then, if each of them had been answered.

    That no exchange is under way is proven, not guessed by a time: what is looked at may wait for its turn on a busy machine,
    and so may the one who looks. So all that was read must have been worked on (the main loop has been round since), and it
    must still be so once perfdhcp is stopped.
    """
    exact = time.monotonic() + 10 / rate + 0.5
    rough = exact + 3 / rate + GAP_SECONDS
    asked = None
    last = _since(process, service, begun)
    while process.poll() is None and (now := time.monotonic()) < rough:
        seen = _since(process, service, begun)
        # Where exchanges were lost the sums never agree again, and an answer that no question followed has to do.
        quiet = seen.settled if now < exact else seen.read > last.read and seen.sent == last.sent
        if quiet and _worked_on(process, service, begun, seen):
            process.send_signal(signal.SIGSTOP)
            frozen = _since(process, service, begun)
            if (frozen.sent, frozen.read) == (seen.sent, seen.read):
                asked = seen.sent if seen.settled else None
                break
            process.send_signal(signal.SIGCONT)
        last = seen
        time.sleep(0.0005)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    return asked


def _since(process: subprocess.Popen[str], service: int, begun: tuple[int, int]) -> _Counters:
    # /proc/PID/net shows the network of that process.
    proc = Path(f"/proc/{process.pid}")
    sent, read = _datagrams((proc / "net" / _TABLES[service]).read_text(), service)
    slept = re.search(r"^voluntary_ctxt_switches:\s*(\d+)$", (proc / "status").read_text(), re.MULTILINE)
    return _Counters(sent - begun[0], read - begun[1], int(slept.group(1)) if slept else 0)


def _worked_on(process: subprocess.Popen[str], service: int, begun: tuple[int, int], seen: _Counters) -> bool:
    # Its main loop looks for answers, sleeps a microsecond, and looks whether it is interrupted: after two sleeps it has looked.
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        now = _since(process, service, begun)
        if (now.sent, now.read) != (seen.sent, seen.read):
            return False
        if now.slept >= seen.slept + 3:
            return True
        time.sleep(0.0002)
    return False
