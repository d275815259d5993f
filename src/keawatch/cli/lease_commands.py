"""Holds the commands about leases: compare, reconcile, undo, backups, and the gate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from keawatch.cli import show_leases as show
from keawatch.cli.acting import begin, beside
from keawatch.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    PairOption,
    YesOption,
    ask,
    exit_of,
    only_pair,
    out,
    print_json,
)
from keawatch.cli.exits import Exit, RefusedError
from keawatch.cli.remote import LONG, Remote, daemon_of
from keawatch.config import Config, PairConfig, load
from keawatch.daemon import shown
from keawatch.daemon.gatecheck import check_gate
from keawatch.daemon.pairs import actor, bystander
from keawatch.leases.backup import Backup, Change
from keawatch.leases.undo import folded

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Its name, as `keawatch backup list` shows it.")]


def diff(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None, *, json_: JsonOption = False) -> None:
    """Compare both lease databases. Changes nothing. Exit status 1 when they differ."""
    loaded = load(config)
    chosen = only_pair(loaded, pair)
    with show.progress(quiet=json_) as progress:
        found = asyncio.run(_compared(loaded, chosen, progress))
    print_json(found) if json_ else show.diff(out(), found)
    raise typer.Exit(Exit.WELL if _alike(found) else Exit.PROBLEM)


async def _compared(config: Config, pair: PairConfig, progress: show.Progress) -> dict[str, Any]:
    async with bystander(config, pair) as watched:
        watched.loop.on_comparing = progress
        view = await watched.loop.compare("a person asked")
        if view.history.comparison is None:
            raise RefusedError("the comparison came to nothing")
        return shown.diff(pair.name, view.history.comparison)


def reconcile(
    config: ConfigOption = DEFAULT_CONFIG,
    pair: PairOption = None,
    *,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """
    Bring both lease databases together by lease commands, without switching DHCP off.

    The primary's word is written to the standby; what only the standby knows is copied to the primary, unless the
    primary was seen to have ended it. The old records are kept first: `keawatch undo` puts them back.
    """
    loaded = load(config)
    chosen = only_pair(loaded, pair)

    def agreed(found: dict[str, Any], entry: dict[str, Any]) -> None:
        _check(found, entry)
        if not json_:
            show.diff(out(), found)
            show.reconciling(out(), found, entry)
        ask(yes=yes, json_=json_)

    remote = daemon_of(loaded)
    with show.progress(quiet=json_) as progress:
        if remote:
            data = _reconcile_through(remote, chosen.name, agreed, progress)
        else:
            data = asyncio.run(_reconcile_here(loaded, chosen, agreed, progress))
    print_json(data) if json_ else show.reconciled(out(), data)
    raise typer.Exit(exit_of(data["result"]))


Agreed = Callable[[dict[str, Any], dict[str, Any]], None]


def _check(found: dict[str, Any], entry: dict[str, Any]) -> None:
    """Raise RefusedError with the reasons when there are differences and no plan, or one that is held back."""
    plan = entry["plan"]
    held = [h["reason"] for h in entry["withheld"] if plan is None or h["strategy"] == plan["strategy"]]
    if not _alike(found) and (plan is None or held):
        raise RefusedError("; ".join(held) or f"nothing can be done about it now: {entry['diagnosis']['sentence']}")


def _alike(found: dict[str, Any]) -> bool:
    return not any(found[kind] for kind in show.KINDS) and not found["suspicious"] and bool(found["settled"])


def _reconcile_through(remote: Remote, pair: str, agreed: Agreed, progress: show.Progress) -> dict[str, Any]:
    """Have the daemon do it, and return the outcome."""
    base = f"/api/v1/pairs/{pair}"
    progress("the daemon compares", 0, None)
    told = remote.post(f"{base}/compare", {}, timeout=LONG)
    if _alike(told["diff"]):
        return shown.nothing_done("the databases are alike")
    agreed(told["diff"], told["pair"])
    progress("the daemon reconciles", 0, None)
    outcome: dict[str, Any] = remote.post(f"{base}/reconcile", {"wait": True}, timeout=LONG)
    return outcome


async def _reconcile_here(config: Config, pair: PairConfig, agreed: Agreed, progress: show.Progress) -> dict[str, Any]:
    """Do it from this process, under the daemon's lock, and return the outcome."""
    async with actor(config, pair) as acting:
        loop = acting.loop
        loop.on_comparing = loop.on_working = progress
        await loop.finish_left_over()
        view = await loop.compare("a person asked")
        entry = shown.operator_plan(view, loop.plan_to_reconcile())
        found = shown.diff(pair.name, view.history.comparison) if view.history.comparison else {}
        if _alike(found):
            return shown.nothing_done("the databases are alike")
        agreed(found, entry)
        await loop.look()  # What a person agreed to may be minutes old.
        task = begin(loop, loop.plan_to_reconcile())
        return shown.outcome(await beside(loop, asyncio.shield(task)))


def undo(
    run: RunArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    pair: PairOption = None,
    *,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Put back the leases that a reconcile changed, where nobody has changed them since."""
    loaded = load(config)
    chosen = only_pair(loaded, pair)
    changes = folded(Backup(loaded.watch.state_dir, chosen.name).changes(run))
    if not json_:
        show.undoing(out(), run, changes)
    ask(yes=yes, json_=json_)
    remote = daemon_of(loaded)
    if remote:
        data = remote.post(f"/api/v1/pairs/{chosen.name}/undo", {"run": run}, timeout=LONG)
    else:
        data = asyncio.run(_undo_here(loaded, chosen, run))
    print_json(data) if json_ else show.undone(out(), data)
    raise typer.Exit(Exit.FAILED if data["refused"] else Exit.PROBLEM if data["left"] else Exit.WELL)


async def _undo_here(config: Config, pair: PairConfig, run: str) -> dict[str, Any]:
    async with actor(config, pair) as acting:
        await acting.loop.finish_left_over()
        of, done = await acting.loop.undo(run)
        return shown.undone(await acting.loop.look(), run, of, done)


backup = typer.Typer(
    name="backup", help="List, show and put back the leases kept before they were changed.", no_args_is_help=True
)


@backup.callback()
def backup_group(context: typer.Context, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Take the configuration also before the verb, as in `keawatch backup -c FILE list`."""
    context.default_map = {verb: {"config": str(config)} for verb in ("list", "show", "restore")}


@backup.command("list")
def backup_list(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None, *, json_: JsonOption = False) -> None:
    """List every run that changed leases, oldest first."""
    loaded = load(config)
    chosen = only_pair(loaded, pair)
    runs = [asdict(run) for run in Backup(loaded.watch.state_dir, chosen.name).runs()]
    print_json({"pair": chosen.name, "runs": runs}) if json_ else show.runs(out(), runs)


@backup.command("show")
def backup_show(
    run: RunArgument, config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None, *, json_: JsonOption = False
) -> None:
    """Show every lease that a run changed, as it was before and as it was to be."""
    loaded = load(config)
    chosen = only_pair(loaded, pair)
    changes: list[Change] = list(Backup(loaded.watch.state_dir, chosen.name).changes(run))
    if json_:
        print_json({"pair": chosen.name, "run": run, "changes": [asdict(change) for change in changes]})
    else:
        show.changes(out(), changes)


@backup.command("restore")
def backup_restore(
    run: RunArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    pair: PairOption = None,
    *,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Put a run's old records back: the same as `keawatch undo RUN`."""
    undo(run, config, pair, yes=yes, json_=json_)


def gate(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None, *, json_: JsonOption = False) -> None:
    """Print what makes the standby wait in `ready` until keawatch has verified it, and check that it is there alone."""
    loaded = load(config)
    chosen = only_pair(loaded, pair)
    data = asyncio.run(_gate(loaded, chosen))
    print_json(data) if json_ else show.gate(out(), data)
    raise typer.Exit(Exit.PROBLEM if data["problems"] else Exit.WELL)


async def _gate(config: Config, pair: PairConfig) -> dict[str, Any]:
    async with bystander(config, pair) as watched:
        return check_gate(await watched.loop.look())
