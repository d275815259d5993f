"""
Measures what reading a long log costs: 100 MiB of which every hundredth line is a conflict, beside ``grep -c`` and ``wc -l``.

What is measured is what the daemon does with it: following the file from its beginning, and counting each client it names.

    python -m tests.kea_pair.bench_logs
    python -m tests.kea_pair.bench_logs --mebibytes 10
"""

import argparse
import os
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.kea_pair.bench_leases import Cost, cost_of

READ = """
import os, sys
from keawatch.core.rejects import Rejects
from keawatch.daemon.logfollow import Position, Source
status = os.stat(sys.argv[1])
follower = Source("a", 4, sys.argv[1]).follow(Position(device=status.st_dev, inode=status.st_ino))
rejects, many, last = Rejects(), 0, -1
while True:
    read = follower.read()
    if read.position.offset == last:
        break
    last, many = read.position.offset, many + len(read.events)
    rejects = rejects.heard(read.events, {"a": "b", "b": "a"})
print(many, sum(tally.conflicts for tally in rejects.tallies))
"""

IDLE = "import keawatch.core.rejects, keawatch.daemon.logfollow"


def write(path: Path, size: int) -> int:
    """Write a log of so many bytes, and return how many conflicts it tells of."""
    number, conflicts, written = 0, 0, 0
    begun = datetime.now(UTC) - timedelta(minutes=30)
    with path.open("w", buffering=1 << 20) as log:
        while written < size:
            number += 1
            at = (begun + timedelta(milliseconds=2 * number)).strftime("%Y-%m-%d %H:%M:%S.%f")[:23]
            card = ":".join(f"{byte:02x}" for byte in (2, 17, 0, *(number // 100 % 400).to_bytes(3, "big")))
            label = f"[hwtype=1 {card}], cid=[01:{card}], tid=0x{number:x}"
            if number % 100:
                line = f"{at} INFO  [kea-dhcp4.leases/27688.139747281237760] DHCP4_LEASE_ALLOC {label}: lease 10.128.0.9 has been allocated for 4000 seconds\n"
            else:
                conflicts += 1
                line = (
                    f"{at} WARN  [kea-dhcp4.ha-hooks/27688.139747281237760] HA_LEASE_UPDATE_CONFLICT a: lease update {label} sent to b "
                    "(http://10.77.0.3:8765/) returned conflict status code: ResourceBusy: IP address:10.128.0.9 could not be updated. "
                    "(error code 4)\n"
                )
            log.write(line)
            written += len(line)
    return conflicts


def row(name: str, cost: Cost) -> str:
    """Return one line of the table."""
    return f"| {name} | {cost.seconds:.1f} s | {cost.cpu:.1f} s | {cost.peak:.0f} MiB |"


def main() -> None:
    """Write the log, have it read, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, default=100)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kea-dhcp4.log"
        conflicts = write(path, chosen.mebibytes << 20)
        # Each finds it in the page cache; were it read here, its size would count as the memory of whatever is begun from here.
        cost_of(["wc", "-l", str(path)])
        rows = {
            "`wc -l`": cost_of(["wc", "-l", str(path)]),
            "`grep -c HA_LEASE_UPDATE_CONFLICT`": cost_of(["grep", "-c", "HA_LEASE_UPDATE_CONFLICT", str(path)]),
            "Python, with keawatch's modules loaded and nothing read": cost_of([sys.executable, "-c", IDLE]),
            "keawatch": cost_of([sys.executable, "-c", READ, str(path)]),
        }
    found = rows["keawatch"].out.split()
    if found != [str(conflicts)] * 2:
        raise SystemExit(f"wrong: {conflicts} conflicts were written, and {found} read")
    print(f"{chosen.mebibytes} MiB, {conflicts} conflicts of 400 clients, {os.cpu_count()} cores.\n")
    print("| read by | time | its processor time | its peak memory |\n|---|---|---|---|")
    for name, cost in rows.items():
        print(row(name, cost))


if __name__ == "__main__":
    main()
