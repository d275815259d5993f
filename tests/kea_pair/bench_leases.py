"""
Measures what a full comparison costs: ``keawatch diff`` beside a bare script that reads one server's pages, in the same run.

The script asks for the same pages over the same kind of socket with nothing but the standard library, and parses them: the
least that reading one database can cost. The comparison reads both. Five sizes show how the cost grows.

    python -m tests.kea_pair.bench_leases                # 10,000 to 500,000 leases a side; docs/diff.svg and a table
    python -m tests.kea_pair.bench_leases --sizes 10000
"""

import argparse
import compileall
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.kea_pair.config import Subnet
from tests.kea_pair.lab import Lab, PairSpec
from tests.kea_pair.watching import PROGRAM, Keawatch, Wish

SIZES = (10_000, 50_000, 100_000, 250_000, 500_000)
PAGE = 1000
PLOT = Path("docs/diff.svg")

ONE_SIDE = """
import json, socket, sys
path, limit, after, count = sys.argv[1], int(sys.argv[2]), "start", 0
while True:
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(json.dumps({"command": "lease4-get-page", "arguments": {"from": after, "limit": limit}}).encode())
        raw = bytearray()
        while chunk := s.recv(1 << 18):
            raw += chunk
    leases = json.loads(raw)["arguments"]["leases"]
    count += len(leases)
    if len(leases) < limit:
        break
    after = leases[-1]["ip-address"]
print(count)
"""


@dataclass(frozen=True)
class Cost:
    """What a process took."""

    seconds: float
    cpu: float
    """Processor seconds."""
    peak: float
    """MiB resident at most."""
    out: str


@dataclass(frozen=True)
class Row:
    """One size."""

    leases: int
    alone: Cost
    diff: Cost

    @property
    def ratio(self) -> float:
        """Return how many times as long the comparison of both takes as reading one."""
        return self.diff.seconds / self.alone.seconds


def cost_of(command: Sequence[str]) -> Cost:
    """Run *command* and return what it took, by the kernel's own count."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, out)


def measure(leases: int, version: str) -> Row:
    """Measure one size on a fresh pair whose databases are the same from the start."""
    with Lab() as lab:
        # Without Kea's own sync: 500,000 leases would take it minutes, and both files are the same.
        room = (Subnet("10.64.0.0/10", "10.64.0.10", "10.127.255.250"),)
        spec = PairSpec(version=version, sync_leases=False, heartbeat_delay=2.0, max_response_delay=60.0, subnets=room)
        pair = lab.pair(spec)
        pair.write_leases(leases)
        pair.start()
        pair.wait_normal(300)
        watch = Keawatch(lab, pair, Wish(autonomy="observe"))
        alone = cost_of([sys.executable, "-c", ONE_SIDE, str(pair.primary.socket_path), str(PAGE)])
        diff = cost_of([str(PROGRAM), "diff", "-c", str(watch.config), "--json"])
        found = json.loads(diff.out)
        if int(alone.out) != leases or found["compared"] != {"a": leases, "b": leases} or found["missing"]:
            raise SystemExit(f"wrong: read {alone.out}, compared {found}")
        return Row(leases, alone, diff)


def table(rows: list[Row], version: str) -> str:
    """Return the table for people."""
    lines = [
        f"Kea {version}, pages of {PAGE}, {os.cpu_count()} cores.",
        "",
        "| leases a side | one side's pages alone | keawatch diff (both sides) | ratio | its processor time | its peak memory |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.leases:,} | {row.alone.seconds:.1f} s | {row.diff.seconds:.1f} s | {row.ratio:.2f} | {row.diff.cpu:.1f} s | "
        f"{row.diff.peak:.0f} MiB |"
        for row in rows
    ]
    return "\n".join(lines)


def plot(rows: list[Row]) -> str:
    """Return seconds over leases as an SVG picture: what grows linearly lies on a straight line."""
    width, height, left, top = 640, 360, 60, 30
    most_x, most_y = rows[-1].leases, max(max(row.diff.seconds, row.alone.seconds) for row in rows) * 1.05

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x / most_x * (width - left - 40), top + (1 - y / most_y) * (height - top - 50)

    def line(points: list[tuple[float, float]], colour: str) -> str:
        spots = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots)
        return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'

    diff = [(0.0, 0.0), *((row.leases, row.diff.seconds) for row in rows)]
    alone = [(0.0, 0.0), *((row.leases, row.alone.seconds) for row in rows)]
    (x0, y0), (x1, y1) = place(0, 0), place(most_x, most_y)
    marks = "".join(
        f'<text x="{place(row.leases, 0)[0]:.0f}" y="{y0 + 18:.0f}" text-anchor="middle">{row.leases // 1000}k</text>'
        for row in rows
        if row.leases > most_x / 20
    )
    step = max(1, round(most_y / 5))
    marks += "".join(
        f'<text x="{left - 8}" y="{place(0, y)[1] + 4:.0f}" text-anchor="end">{y} s</text>'
        for y in range(0, int(most_y) + 1, step)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
        f'<rect width="{width}" height="{height}" fill="white"/>'
        f'<path d="M{x0},{y1} V{y0} H{x1}" fill="none" stroke="#888"/>{marks}'
        f"{line(alone, '#888888')}{line(diff, '#1f6feb')}"
        f'<text x="{left + 20}" y="{top + 10}" fill="#1f6feb">keawatch diff, both sides</text>'
        f'<text x="{left + 20}" y="{top + 26}" fill="#666666">one side\'s pages alone</text>'
        f'<text x="{width / 2:.0f}" y="{height - 8}" text-anchor="middle">leases on each side</text></svg>\n'
    )


def main() -> None:
    """Measure every size, and write the plot where more than one was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--kea", default="3.0")
    chosen = parser.parse_args()
    compileall.compile_dir("src", quiet=1)  # As an installer does: a program is not compiled anew each time it begins.
    rows = []
    for size in chosen.sizes:
        rows.append(measure(size, chosen.kea))
        print(table(rows[-1:], chosen.kea).splitlines()[-1], file=sys.stderr, flush=True)
    print(table(rows, chosen.kea))
    if len(rows) > 1:
        PLOT.write_text(plot(rows))


if __name__ == "__main__":
    main()
