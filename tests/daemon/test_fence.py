"""A fence command's exit status 0 is the only yes; nothing that it prints or hides gets anywhere."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from keawatch.daemon.fence import FenceCommand, FenceError

pytestmark = pytest.mark.anyio


def is_running(pid: int) -> bool:
    """Return whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_status_0_is_a_yes_and_its_words_are_taken_as_they_are(tmp_path: Path) -> None:
    mark = tmp_path / "a mark; $(x)"
    said = await FenceCommand("b", ("touch", str(mark)))(10.0)
    assert "b" in said
    assert mark.exists()


@pytest.mark.parametrize("status", [1, 2, 255])
async def test_another_status_is_no_yes(status: int) -> None:
    with pytest.raises(FenceError, match=f"ended with {status}, so it is not certain that b is off"):
        await FenceCommand("b", (sys.executable, "-c", f"raise SystemExit({status})"))(30.0)


async def test_what_it_prints_is_not_repeated() -> None:
    with pytest.raises(FenceError) as caught:
        await FenceCommand("b", ("sh", "-c", "echo hunter2 >&2; echo hunter2; exit 3", "hunter2"))(30.0)
    assert "hunter2" not in str(caught.value)


async def test_one_that_does_not_end_is_killed_with_all_it_started_and_is_no_yes(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    with pytest.raises(FenceError, match="did not end within 1 s"):
        await FenceCommand("b", ("sh", "-c", f"sleep 1000 & echo $! > {pids}; wait"))(1.0)
    child, until = int(pids.read_text()), time.monotonic() + 30
    while is_running(child):  # The kernel takes its time on a busy machine.
        assert time.monotonic() < until, "what it started was not killed"
        await asyncio.sleep(0.05)


async def test_one_that_is_not_there_is_no_yes() -> None:
    with pytest.raises(FenceError, match=r"can't be run .*look at fence in the configuration"):
        await FenceCommand("b", ("/nowhere/fence",))(1.0)
