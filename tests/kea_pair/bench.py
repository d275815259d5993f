"""
Measures what watching one real pair at two seconds costs: processor time and memory of ``keawatch run``.

Beside it, in the same run and on the same pair, a bare script asks the same four questions at the same beat with nothing
but the standard library: the least that watching can cost in Python.

    python -m tests.kea_pair.bench --minutes 30
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.kea_pair.lab import Lab, PairSpec
from tests.kea_pair.watching import Keawatch, Wish

BARE = """
import json, socket, sys, time
def ask(path, command):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(json.dumps({"command": command}).encode())
        raw = b""
        while chunk := s.recv(65536):
            raw += chunk
    return json.loads(raw)
beat = time.monotonic()
while True:
    for path in sys.argv[1:]:
        for command in ("status-get", "ha-heartbeat"):
            ask(path, command)
    beat += 2.0
    time.sleep(max(0.0, beat - time.monotonic()))
"""


@dataclass
class Usage:
    """What a process has used."""

    cpu: float
    """Processor seconds."""
    resident: float
    """MiB now."""
    peak: float
    """MiB at most."""


def usage(pid: int) -> Usage:
    """Return what a process has used so far, by the kernel's own count."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return Usage(cpu, *(int(status[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM")))


def measure(minutes: float, version: str) -> dict[str, dict[str, float]]:
    """Return processor share and memory of keawatch and of the bare script over so many minutes."""
    with Lab() as lab:
        pair = lab.pair(PairSpec(version=version, heartbeat_delay=10.0, max_response_delay=60.0))
        pair.start()
        pair.wait_normal(90)
        watch = Keawatch(lab, pair, Wish(autonomy="observe", interval=2.0))
        watch.start()
        watch.wait_for("OK", 30)
        sockets = [str(node.socket_path) for node in pair.nodes]
        bare = lab.popen("w", [sys.executable, "-c", BARE, *sockets], subprocess.DEVNULL)
        pids = {"keawatch": watch.process.pid, "bare script": bare.pid}
        begun, before = time.monotonic(), {name: usage(pid) for name, pid in pids.items()}
        _wait(minutes)
        seconds = time.monotonic() - begun
        after = {name: usage(pid) for name, pid in pids.items()}
        watch.stop()
    return {name: _row(before[name], after[name], seconds) for name in pids}


def _wait(minutes: float) -> None:
    until = time.monotonic() + minutes * 60
    while (left := until - time.monotonic()) > 0:
        if sys.stderr.isatty():
            print(f"\r{left / 60:5.1f} minutes left ", end="", file=sys.stderr, flush=True)
        time.sleep(min(5.0, left))


def _row(before: Usage, after: Usage, seconds: float) -> dict[str, float]:
    share = 100 * (after.cpu - before.cpu) / seconds
    return {
        "cpu_percent": round(share, 3),
        "resident_mib": round(after.resident, 1),
        "peak_mib": round(after.peak, 1),
        "grown_mib": round(after.resident - before.resident, 1),
        "seconds": round(seconds),
    }


def main() -> None:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--version", default="3.0", choices=("2.2", "2.6", "3.0"))
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    rows = measure(chosen.minutes, chosen.version)
    if chosen.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"One pair of Kea {chosen.version} watched every 2 s for {chosen.minutes:g} minutes")
    print(f"{'':14}{'of one core':>14}{'resident':>12}{'peak':>12}{'grown by':>12}")
    for name, row in rows.items():
        print(
            f"{name:14}{row['cpu_percent']:>12.2f} %{row['resident_mib']:>8.1f} MiB{row['peak_mib']:>8.1f} MiB"
            f"{row['grown_mib']:>8.1f} MiB"
        )


if __name__ == "__main__":
    main()
