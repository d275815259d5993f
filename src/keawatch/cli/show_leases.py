"""Shows what concerns leases to people; the data is the JSON that programs get."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Table

from keawatch.cli.common import aside
from keawatch.leases.backup import Change
from keawatch.leases.lease import Record, brief

KINDS = ("missing", "extra", "older", "newer", "owner", "state", "differs")

Progress = Callable[[str, int, int | None], None]

_MEANING = {
    "missing": "{a} has it, {b} lacks it",
    "extra": "only {b} has it",
    "older": "{b} has an earlier renewal of it",
    "newer": "{b} has a later renewal of it",
    "owner": "{b} has it leased to another client",
    "state": "leased, declined or released: {b} says another than {a}",
    "differs": "another field differs at {b}",
}


@contextlib.contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """Give what shows how far long work is, on a terminal; elsewhere it shows nothing."""
    console = aside()
    if quiet or not console.is_terminal:
        yield lambda what, done, of: None  # noqa: ARG005 - nothing is shown
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("looking", total=None)

        def told(what: str, done: int, of: int | None) -> None:
            bar.update(task, description=what, completed=done, total=of)

        yield told


def diff(console: Console, found: Mapping[str, Any]) -> None:
    """Show a comparison: a sentence, the counts, a few of each kind, and addresses with two owners."""
    a, b = _sides(found)
    read = ", ".join(f"{server} {count}" for server, count in found["compared"].items())
    if found["suspicious"]:
        console.print(f"{found['suspicious']}.", style="bold red")
    if not any(found[kind] for kind in KINDS):
        console.print(f"{found['pair']}: no difference ({read} leases, {found['seconds']:.1f} s)", style="green")
    else:
        console.print(f"{found['pair']}: compared {read} leases in {found['seconds']:.1f} s")
        table = Table(box=box.SIMPLE, header_style="dim")
        table.add_column("kind")
        table.add_column("leases", justify="right")
        table.add_column("meaning")
        for kind in (kind for kind in KINDS if found[kind]):
            table.add_row(kind, str(found[kind]), _MEANING[kind].format(a=a, b=b))
        console.print(table)
        for example in found["examples"]:
            has, other = example["has"] or "nothing", example["other"] or "nothing"
            console.print(f"  {example['address']} {example['kind']}: {has} | {other}", style="dim")
    _rivals(console, found)
    if found.get("randomised"):
        share = found["randomised"] / found["hw_addresses"]
        console.print(f"  {share:.0%} of the leases are of randomised hardware addresses", style="dim")
    for stray in found.get("strays", ()):
        console.print(f"  {stray}.", style="yellow")
    if not found["settled"]:
        console.print("Some leases changed each time they were looked at; they are not counted.", style="yellow")


def _rivals(console: Console, found: Mapping[str, Any]) -> None:
    for rival in found["rivals"][:20]:
        console.print(
            f"  {rival['address']} was given to two clients: {rival['kept']} keeps it, {rival['lost']} goes on using it "
            f"until {rival['until']}",
            style="yellow",
        )
    if len(found["rivals"]) > 20:
        console.print(
            f"  and {len(found['rivals']) - 20} more addresses with two owners (--json has all)", style="yellow"
        )


def _sides(found: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of the authority and of the other server."""
    if found["authority"] is None:
        return "the server whose client it is", "the other"
    return found["authority"], next(name for name in found["compared"] if name != found["authority"])


def reconciling(console: Console, found: Mapping[str, Any], entry: Mapping[str, Any]) -> None:
    """Show what a reconcile would do."""
    a, b = _sides(found)
    fates = found["fates"]
    written = sum(found[kind] for kind in KINDS if kind != "extra")
    copied, deleted = fates["copy"] + fates["copy-unseen"], fates["delete"]
    if found["suspicious"]:
        copied, deleted = copied + deleted, 0
    plan = entry["plan"]
    if plan and plan["strategy"] == "resync":
        console.print(f"{plan['summary']} Announced pause: {plan['announced_pause']:g} s.")
        return
    console.print(
        f"{a}'s record would be written to {b} for {written} leases, {copied} leases copied from {b} to {a}, and {deleted} "
        f"deleted on {b}. Nothing is switched off; every old record is kept first."
    )


def reconciled(console: Console, data: Mapping[str, Any]) -> None:
    """Show what became of a reconcile."""
    colour = "green" if data["result"] == "ok" else "bold red"
    console.print(f"{data['result']}: {data['reason']}", style=colour)
    for step in data["steps"]:
        if step["reply"]:
            console.print(f"  {step['title']}: {step['reply']}")
    if data["run"]:
        console.print(
            f"{data['written']} written, {data['deleted']} deleted; `keawatch undo {data['run']}` puts them back."
        )


def undoing(console: Console, run: str, changes: Sequence[Change]) -> None:
    """Show what an undo would do."""
    servers = ", ".join(sorted({change.server for change in changes}))
    console.print(
        f"{len(changes)} leases on {servers} would be put back as they were before {run}, where nobody changed them since."
    )


def undone(console: Console, data: Mapping[str, Any]) -> None:
    """Show what an undo did."""
    console.print(f"{data['restored']} leases put back, {data['as_before']} were as before already.")
    if data["left"]:
        console.print(f"{len(data['left'])} left alone, since they changed meanwhile:", style="yellow")
        for address in data["left"][:20]:
            console.print(f"  {address}", style="yellow")
    if data["paused"]:
        console.print("keawatch leaves the pair alone for an hour now, or until `keawatch resume`.")
    for refused in data["refused"][:20]:
        console.print(f"  refused: {refused}", style="red")


def runs(console: Console, found: Sequence[Mapping[str, Any]]) -> None:
    """Show the runs there are."""
    if not found:
        console.print("keawatch has changed no lease yet.")
        return
    table = Table(box=box.SIMPLE, header_style="dim")
    for column in ("run", "began", "changes", "result", "why"):
        table.add_column(column, justify="right" if column == "changes" else "left", overflow="fold")
    for run in found:
        table.add_row(run["id"], run["began"], str(run["changes"]), run["result"], run["why"])
    console.print(table)


def changes(console: Console, found: Sequence[Change]) -> None:
    """Show single changes."""
    for change in found:
        before, after = _brief(change.before), _brief(change.after)
        console.print(f"{change.server} {change.address} {change.kind}: {before} → {after}")


def _brief(record: Record | None) -> str:
    """Return a kept record in short; one that is damaged as it is, since it must not hide the others."""
    try:
        return brief(record) or "nothing"
    except (ArithmeticError, KeyError, OSError, TypeError, ValueError):
        return f"a damaged record {json.dumps(record)[:120]}"


def gate(console: Console, data: Mapping[str, Any]) -> None:
    """Show the gate's snippet and what is wrong with it as it is."""
    console.print(
        f"The standby {data['standby']} waits in `ready` until keawatch has compared it with {data['primary']} when this stands in "
        'the HA parameters of its configuration (inside the map in "high-availability"), and in its alone:\n'
    )
    sys.stdout.write(json.dumps(data["snippet"], indent=2) + "\n")
    if not data["problems"]:
        console.print(f"\nIt stands there: {data['standby']} is gated.", style="green")
    for problem in data["problems"]:
        console.print(f"\n{problem}.", style="yellow")
