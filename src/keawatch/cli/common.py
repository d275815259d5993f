"""What the commands have in common: their options, whom they mean, how they ask and how they print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keawatch.cli import show
from keawatch.cli.exits import Exit, UsageError
from keawatch.config import Config, PairConfig

DEFAULT_CONFIG = Path(
    "/usr/local/etc/keawatch/config.toml" if "freebsd" in sys.platform else "/etc/keawatch/config.toml"
)

ConfigOption = Annotated[Path, typer.Option("-c", "--config", metavar="FILE", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
PairOption = Annotated[str | None, typer.Option("-p", "--pair", metavar="NAME", help="Only this pair.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def out() -> Console:
    """Return where results are shown, as they are: what Kea, a person or a file said may hold [brackets] and :ab: as MAC addresses do."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def aside() -> Console:
    """Return where is shown how far work is, beside its result."""
    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def print_json(data: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


def chosen_pairs(config: Config, name: str | None) -> list[PairConfig]:
    """Return the pair called *name*, or all; raises UsageError when there is none."""
    chosen = [pair for pair in config.pair if name in {None, pair.name}]
    if not chosen:
        known = ", ".join(pair.name for pair in config.pair)
        raise UsageError(f"there is no pair {name!r} in the configuration; it has: {known}")
    return chosen


def only_pair(config: Config, name: str | None) -> PairConfig:
    """Return the one pair that is meant; raises UsageError when that is not clear."""
    chosen = chosen_pairs(config, name)
    if len(chosen) > 1:
        raise UsageError(f"which pair? Say --pair and one of: {', '.join(pair.name for pair in chosen)}")
    return chosen[0]


def ask(*, yes: bool, json_: bool, question: str = "Do this?") -> None:
    """Return when a person agrees; raises UsageError when there is nobody to ask, Exit when they do not."""
    if yes:
        return
    if json_ or not sys.stdin.isatty():
        raise UsageError("this changes a server and there is nobody to ask: say --yes")
    try:
        agreed = typer.confirm(question)
    except typer.Abort:  # Ctrl-D is a no as well.
        typer.echo(err=True)
        agreed = False
    if not agreed:
        raise typer.Exit(Exit.REFUSED)


def agreement(*, yes: bool, json_: bool) -> Callable[[dict[str, Any]], None]:
    """Return what shows a plan and asks a person (see ``ask``)."""

    def agreed(entry: dict[str, Any]) -> None:
        if not json_:
            show.plan(out(), entry)
        ask(yes=yes, json_=json_)

    return agreed


def exit_of(result: str) -> Exit:
    """Return the exit status for the result of a plan."""
    return {"ok": Exit.WELL, "refused": Exit.REFUSED}.get(result, Exit.FAILED)
