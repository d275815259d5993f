"""
Reads what Kea writes to its log: bytes of a log in, ``Logged`` out; what is no line of that Kea about HA is nothing.

Kea's spellings of 2.2, 2.6 and 3.0 are known (ha_messages.mes, lease_cmds_messages.mes), as it writes them to a file, and as
syslog (RFC 3164 and 5424) and the journal keep them. A client chooses its name, and names stand in these lines: only what
stands behind Kea's own ``LEVEL [logger]`` is taken for a message. Nothing here opens a file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

from keawatch.core.logged import MOST_TEXT, Logged, LogKind
from keawatch.kea.protocol import printable

FUTURE = timedelta(days=1)
"""A time stamp further ahead than this is not believed."""

_NAMES = "|".join(kind.value for kind in LogKind if not kind.value.startswith("HA_"))
_NEEDLE = re.compile(rf"\] +(?:HA_|(?:{_NAMES})\b)".encode())

_LINE = re.compile(
    rb"(?P<head>.*?)(?:DEBUG|INFO|WARN|ERROR|FATAL) +\[kea-dhcp(?P<family>[46])(?:\.[^\]]*)?\] +(?P<id>[A-Z0-9_]+)(?P<rest>.*)",
    re.DOTALL,
)

_SPELLED: Mapping[str, LogKind] = {kind.value: kind for kind in LogKind} | {
    "HA_HIGH_CLOCK_SKEW_CAUSES_TERMINATION": LogKind.HA_HIGH_CLOCK_SKEW_CAUSED_TERMINATION,  # 2.2
}


@dataclass(frozen=True, slots=True)
class Reading:
    """Whose log is read, and when: what a line alone does not tell."""

    server: str
    family: int
    """4 or 6: pfSense writes the lines of both servers to one file."""
    now: datetime


def interesting(block: bytes) -> Iterator[bytes]:
    """Yield the lines of *block*, which are whole, that may be worth reading: a cheap look at all of it at once."""
    done = 0
    for found in _NEEDLE.finditer(block):
        if found.start() < done:
            continue
        begin = block.rfind(b"\n", done, found.start()) + 1 or done
        end = block.find(b"\n", found.end())
        done = len(block) if end < 0 else end + 1
        yield block[begin : done if end < 0 else end]


def parse(line: bytes, reading: Reading, *, at: datetime | None = None) -> Logged | None:
    """Return what *line* says, or None; *at* is its time where somebody else than the line tells it."""
    found = _LINE.match(line)
    if found is None or int(found["family"]) != reading.family:
        return None
    name = found["id"].decode("ascii")
    kind = _SPELLED.get(name)
    if kind is None:
        return None
    said = printable(found["rest"].decode("utf-8", "replace").strip())
    details = _of_receiver(said) if name.startswith("LEASE_CMDS_") else _of_sender(said)
    return Logged(
        at=_time(found["head"], reading.now, at),
        server=reading.server,
        kind=kind,
        text=f"{name} {said}"[:MOST_TEXT],
        **details,
    )


# --- the sender's lines


_LABEL4 = re.compile(r"\[hwtype=\d+ (?P<client>[0-9a-f:]+)\], cid=\[(?P<id>[0-9a-f:]+|no info)\]")
_LABEL6 = re.compile(r"duid=\[(?P<client>[0-9a-f:]+)\]")
_REASON = re.compile(r"(?:conflict status code: |, reason: | failed: |\): )(?P<reason>.*)", re.DOTALL)
_RESULT = re.compile(r"(?: \(|, )?error code (?P<result>\d+)\)?$")
_ADDRESS = re.compile(
    r"(?:for address |IP address:|[Tt]he address |with address |for address: )(?P<address>[0-9a-fA-F.:]+)"
)
_SUBNET = re.compile(r"subnet-id[= ](?P<subnet>\d+)")


def _of_sender(said: str) -> dict[str, Any]:
    label = _LABEL4.search(said) or _LABEL6.search(said)
    found = _REASON.search(said)
    reason = found["reason"] if found else None
    result = _RESULT.search(reason) if reason else None
    identifier = label.groupdict().get("id") if label else None
    return {
        "client": label["client"] if label else None,
        "client_id": None if identifier == "no info" else identifier,
        "address": _address(said),
        "subnet": _number(_SUBNET.search(reason or "")),
        "result": int(result["result"]) if result else None,
        "reason": _RESULT.sub("", reason)[:MOST_TEXT] if reason else None,
    }


def _address(said: str) -> str | None:
    """Return the first address that Kea's words name."""
    for found in _ADDRESS.finditer(said):
        if (address := _plain(found["address"].rstrip("."))) is not None:
            return address
    return None


def _plain(address: str | None) -> str | None:
    """Return an address in its usual form, or None where it is none."""
    try:
        return str(ip_address(address)) if address else None
    except ValueError:
        return None


def _number(found: re.Match[str] | None) -> int | None:
    return int(found["subnet"]) if found else None


# --- the receiver's lines


_PARAMETERS = "(parameters: "
_FOR_REASON = ", reason: "
_PARTNERS = "ha-partner"
"""The origin that HA gives its lease updates (2.3.8 and later)."""

_FIELD = re.compile(r'"(?P<name>[a-z-]+)": (?:"(?P<text>[^"]*)"|(?P<number>\d+))')


def _of_receiver(said: str) -> dict[str, Any]:
    _, _, rest = said.partition(_PARAMETERS)
    lease, rest = _parameters(rest)
    _, told, reason = rest.partition(_FOR_REASON)
    client = _text(lease, "duid") or _text(lease, "hw-address")
    return {
        "client": client.lower() if client else None,
        "client_id": _text(lease, "client-id"),
        "address": _plain(_text(lease, "ip-address")) or _address(reason),
        "subnet": _whole(lease, "subnet-id"),
        "result": 4 if " due to conflict " in said else 1,
        "reason": reason.removesuffix(")")[:MOST_TEXT] if told else None,
        "lifetime": _whole(lease, "valid-lft"),
        "foreign": lease.get("origin") != _PARTNERS,
    }


def _parameters(text: str) -> tuple[Mapping[str, Any], str]:
    """Return the command's parameters and what follows them; what can be had of them where syslog has cut the line."""
    try:
        found, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        cut, told, rest = text.rpartition(_FOR_REASON)
        fields = {
            f["name"]: f["text"] if f["number"] is None else int(f["number"]) for f in _FIELD.finditer(cut or text)
        }
        return fields, told + rest
    lease = found if isinstance(found, dict) else {}
    several = lease.get("leases")
    if isinstance(several, list) and len(several) == 1 and isinstance(several[0], dict):
        lease = several[0] | {"origin": lease.get("origin")}  # lease6-bulk-apply for one lease
    return lease, text[end:]


def _text(lease: Mapping[str, Any], key: str) -> str | None:
    value = lease.get(key)
    return value[:MOST_TEXT] if isinstance(value, str) and value else None


def _whole(lease: Mapping[str, Any], key: str) -> int | None:
    value = lease.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


# --- times


_KEAS = re.compile(rb"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)(?:[.,](\d{1,6})\d*)? *$")
_ISO = re.compile(rb"(?:<\d+>\d* ?)?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)\d*(Z|[+-]\d\d:?\d\d)?")
_RFC3164 = re.compile(rb"(?:<\d+>)?([A-Z][a-z]{2}) {1,2}(\d{1,2}) (\d\d):(\d\d):(\d\d)")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


def _time(head: bytes, now: datetime, known: datetime | None) -> datetime:
    """Return when a line was written: by Kea's own stamp, else by that of whoever kept it, else *known*, else *now*."""
    for told in (_keas_time, _iso_time):
        try:
            at = told(head, now)
        except ValueError:
            continue
        if at and at <= now + FUTURE:
            return at
    if known is not None:
        return known
    try:
        return _rfc3164_time(head, now) or now
    except ValueError:
        return now


def _keas_time(head: bytes, now: datetime) -> datetime | None:
    found = _KEAS.search(head)
    if found is None:
        return None
    text = f"{found[1].decode()}T{found[2].decode()}.{(found[3] or b'0').decode():0<6}"
    return _local(datetime.fromisoformat(text), now)


def _iso_time(head: bytes, now: datetime) -> datetime | None:
    found = _ISO.match(head)
    if found is None:
        return None
    text = (found[1] + (found[2] or b"")).decode()
    at = datetime.fromisoformat(text)
    return _local(at, now) if at.tzinfo is None else at.astimezone(UTC)


def _rfc3164_time(head: bytes, now: datetime) -> datetime | None:
    """Return the time of a stamp without a year: the latest such that is not in the future."""
    found = _RFC3164.match(head)
    if found is None or found[1] not in _MONTHS:
        return None
    month, (day, hour, minute, second) = _MONTHS.index(found[1]) + 1, (int(part) for part in found.groups()[1:])
    for year in range(now.year + 1, now.year - 9, -1):  # February 29 comes every eighth year at the worst
        try:
            at = _local(datetime(year, month, day, hour, minute, min(second, 59)), now)  # noqa: DTZ001 - the host's zone follows
        except ValueError:
            continue
        if at <= now + FUTURE:
            return at
    return None


def _local(at: datetime, now: datetime) -> datetime:
    """Return a time of this host's zone as UTC; of the two that an hour set back has, the one nearer to *now*."""
    both = (at.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    return min(both, key=lambda one: abs(now - one))
