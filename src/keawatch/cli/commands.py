"""Holds every command; each reads the configuration, asks the daemon or the servers, and shows what came of it."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from keawatch import __version__
from keawatch.cli import lease_commands, linting, replaying, show
from keawatch.cli.acting import heal_here, heal_through
from keawatch.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    PairOption,
    YesOption,
    agreement,
    aside,
    chosen_pairs,
    exit_of,
    only_pair,
    out,
    print_json,
)
from keawatch.cli.exits import Exit, UsageError, guarded, open_streams
from keawatch.cli.remote import Remote, daemon_of, told_of
from keawatch.config import Config, PairConfig, load
from keawatch.core.atlas import CODES, STATES, explain_code, explain_state
from keawatch.core.model import Pause
from keawatch.core.policy import Strategy
from keawatch.daemon import shown
from keawatch.daemon.clock import now
from keawatch.daemon.journal import Journal
from keawatch.daemon.pairs import bystander, check_usable
from keawatch.errors import KeawatchError
from keawatch.kea.protocol import one_line
from keawatch.logs import configure

app = typer.Typer(
    name="keawatch",
    help="Watches both servers of a Kea HA pair and brings the pair back to redundant service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(lease_commands.diff)
app.command()(lease_commands.reconcile)
app.command()(lease_commands.undo)
app.command()(lease_commands.gate)
app.command()(replaying.replay)
app.command()(linting.lint)
app.add_typer(lease_commands.backup, name="backup")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with the status that ``Exit`` describes."""
    open_streams()
    configure()
    guarded(lambda: app(arguments, standalone_mode=True))


def _status(config: Config, name: str | None) -> dict[str, Any]:
    """Return the pairs as the daemon sees them, or as they are seen now when none runs."""
    remote = daemon_of(config)
    chosen = {pair.name for pair in chosen_pairs(config, name)}
    if remote:
        return _told(remote, chosen)
    return asyncio.run(_seen(config, name))


FIRST_LOOK = 15.0
"""Seconds that a daemon which has just been started has to look at every pair once."""


def _told(remote: Remote, chosen: set[str]) -> dict[str, Any]:
    """Return the pairs as the daemon sees them; raises KeawatchError when it has not looked at one of them in time."""
    until = time.monotonic() + FIRST_LOOK
    while True:
        data = remote.get("/api/v1/pairs")
        pairs = [pair for pair in data["pairs"] if pair["name"] in chosen]
        if len(pairs) == len(chosen):
            return {**data, "pairs": pairs}
        if time.monotonic() > until:
            missing = ", ".join(sorted(chosen - {pair["name"] for pair in pairs}))
            raise KeawatchError(
                f"the daemon has not looked at {missing} yet; if that lasts, it was started with another configuration: reload it"
            )
        time.sleep(0.2)


async def _seen(config: Config, name: str | None) -> dict[str, Any]:
    views = []
    for pair in chosen_pairs(config, name):
        async with bystander(config, pair) as watched:
            views.append(await watched.loop.look())
    return shown.status(views)


def _exit_for(data: dict[str, Any]) -> Exit:
    diagnoses = [pair["diagnosis"] for pair in data["pairs"]]
    if any(diagnosis["code"] == "OBSERVER_BLIND" for diagnosis in diagnoses):
        return Exit.BLIND
    return Exit.PROBLEM if any(d["severity"] in {"warning", "critical"} for d in diagnoses) else Exit.WELL


@app.command()
def run(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    json_log: Annotated[bool, typer.Option("--json-log", help="Log JSON lines also on a terminal.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Only read the configuration and its files, and say what is wrong.")
    ] = False,
) -> None:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C."""
    configure(json=True if json_log else None)
    loaded = load(config)
    if check:
        check_usable(loaded)
        return
    from keawatch.daemon.app import Daemon  # noqa: PLC0415 - every other command does without a web server

    asyncio.run(Daemon(config, loaded).run())


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None, *, json_: JsonOption = False) -> None:
    """Say in one sentence a pair how it stands. Exit status 1 when something is wrong, 3 when nothing can be seen."""
    data = _status(load(config), pair)
    print_json(data) if json_ else show.status(out(), data)
    raise typer.Exit(_exit_for(data))


@app.command()
def explain(
    word: Annotated[
        str | None, typer.Argument(help="A diagnosis or an HA state; without it, the pairs as they are.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    pair: PairOption = None,
    *,
    json_: JsonOption = False,
) -> None:
    """Explain what is seen, how that is known, what Kea does next, and why keawatch does what it does or does nothing."""
    if word:
        _explain_word(word, json_=json_)
        return
    data = _status(load(config), pair)
    explained = {
        "pairs": [{**entry, "explanation": explain_code(entry["diagnosis"]["code"])} for entry in data["pairs"]]
    }
    if json_:
        print_json(explained)
        return
    for entry in explained["pairs"]:
        show.explained(out(), entry)


def _explain_word(word: str, *, json_: bool) -> None:
    upper, lower = word.upper().replace("-", "_"), word.lower()
    if upper in CODES and lower not in STATES:
        text = explain_code(upper)
    elif lower in STATES:
        text = explain_state(lower)
    else:
        raise UsageError(f"{word!r} is neither a diagnosis nor an HA state; known are {', '.join((*CODES, *STATES))}")
    print_json({"word": word, "explanation": text}) if json_ else show.explanation(out(), word, text)


@app.command()
def plan(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None, *, json_: JsonOption = False) -> None:
    """Show what would be done, step by step, what it costs, and what holds it back. Nothing is done."""
    data = _status(load(config), pair)
    if json_:
        keys = ("name", "diagnosis", "plan", "withheld")
        print_json({"pairs": [{key: entry[key] for key in keys} for entry in data["pairs"]]})
        return
    for entry in data["pairs"]:
        show.plan(out(), entry)


@app.command()
def heal(
    config: ConfigOption = DEFAULT_CONFIG,
    pair: PairOption = None,
    strategy: Annotated[Strategy | None, typer.Option(help="Only this way of healing.")] = None,
    *,
    yes: YesOption = False,
    json_: JsonOption = False,
) -> None:
    """Heal a pair now. Shows the plan first and asks; the laws of safety hold for a person too."""
    loaded = load(config)
    chosen = only_pair(loaded, pair)
    remote = daemon_of(loaded)
    agreed = agreement(yes=yes, json_=json_)
    if remote:
        data = heal_through(remote, chosen.name, strategy, agreed)
    else:
        console = None if json_ else aside()
        data = asyncio.run(heal_here(loaded, chosen, strategy, agreed, console))
    print_json(data) if json_ else show.outcome(out(), data)
    raise typer.Exit(exit_of(data["result"]))


@app.command()
def history(
    config: ConfigOption = DEFAULT_CONFIG,
    pair: PairOption = None,
    limit: Annotated[int, typer.Option(help="How many entries.", min=1, max=100_000)] = 50,
    *,
    json_: JsonOption = False,
) -> None:
    """Show what was seen, decided and done."""
    loaded = load(config)
    if pair:
        chosen_pairs(loaded, pair)
    journal = Journal(loaded.watch.state_dir)
    data = shown.history(journal.entries(pair, limit=limit))
    journal.close()
    print_json(data) if json_ else show.history(out(), data)


@app.command()
def pause(
    config: ConfigOption = DEFAULT_CONFIG,
    pair: PairOption = None,
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Such as 90s, 30m, 2h or 3d; else until resume.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; shown wherever the pair is shown.")] = "",
) -> None:
    """Watch and say, but do nothing, until the time is up or ``resume``."""
    seconds = None if for_ is None else _seconds(for_)
    owner, reason = _user(), one_line(reason)
    loaded = load(config)
    for chosen in chosen_pairs(loaded, pair):
        remote = told_of(loaded)
        if remote:
            remote.post(f"/api/v1/pairs/{chosen.name}/pause", {"seconds": seconds, "reason": reason, "owner": owner})
        else:
            until = None if seconds is None else now() + timedelta(seconds=seconds)
            _settle(loaded, chosen, Pause(now(), until, reason, owner))
        out().print(f"{chosen.name} is paused {'for ' + for_ if for_ else 'until `keawatch resume`'}.")


@app.command()
def resume(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None) -> None:
    """End a pause."""
    loaded = load(config)
    for chosen in chosen_pairs(loaded, pair):
        remote = told_of(loaded)
        remote.post(f"/api/v1/pairs/{chosen.name}/resume", {}) if remote else _settle(loaded, chosen, None)
        out().print(f"{chosen.name} is watched and healed again as its autonomy says.")


@app.command()
def ack(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None) -> None:
    """Say that the cause was looked at: the breaker closes, and keawatch may try again."""
    loaded = load(config)
    for chosen in chosen_pairs(loaded, pair):
        remote = told_of(loaded)
        if remote:
            remote.post(f"/api/v1/pairs/{chosen.name}/ack", {"owner": _user()})
        else:
            journal = Journal(loaded.watch.state_dir)
            journal.acknowledge(chosen.name, _user())
            journal.close()
        out().print(f"{chosen.name}: acknowledged.")


def _settle(config: Config, pair: PairConfig, pause_: Pause | None) -> None:
    journal = Journal(config.watch.state_dir)
    journal.set_pause(pair.name, pause_)
    journal.close()


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not match or float(match[1]) <= 0:
        raise UsageError(f"{text!r} is not a length of time; say 90s, 30m, 2h or 3d")
    seconds = float(match[1]) * _UNITS[match[2]]
    if not shown.SHORTEST_PAUSE.total_seconds() <= seconds <= shown.LONGEST_PAUSE.total_seconds():
        raise UsageError(
            f"{text!r} is too {'short' if seconds < 1 else 'long'}; a pause without --for lasts until resume"
        )
    return seconds


def _user() -> str:
    import getpass  # noqa: PLC0415 - seldom needed

    try:
        return one_line(getpass.getuser())
    except (KeyError, OSError):
        return "unknown"


@app.command()
def doctor(
    config: ConfigOption = DEFAULT_CONFIG,
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle", metavar="FILE", help="Also write a .tar.gz for a report of a problem, without secrets."
        ),
    ] = None,
    *,
    json_: JsonOption = False,
) -> None:
    """Examine keawatch's own installation: files, rights, and what each server accepts at each address."""
    from keawatch.cli.advising import BundleAt, examine_and_show  # noqa: PLC0415 - loads more than most commands need

    loaded = load(config)
    wanted = BundleAt(bundle, lambda: _status(loaded, None)) if bundle else None
    raise typer.Exit(examine_and_show(loaded, out(), json_=json_, bundle=wanted))


@app.command()
def init(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where to write; - for standard output.")
    ] = DEFAULT_CONFIG,
    *,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Find Kea on this host and write a commented configuration."""
    from keawatch.cli.advising import discover_and_write  # noqa: PLC0415

    raise typer.Exit(discover_and_write(output, out(), force=force))


@app.command()
def demo(
    *, fast: Annotated[bool, typer.Option("--fast", help="Shorter timers, for a test of the demo itself.")] = False
) -> None:
    """Show a simulated pair die of rejected lease updates, and keawatch heal it; in under two minutes, without root."""
    from keawatch.cli.demo import play  # noqa: PLC0415 - the simulated pair is for this alone

    raise typer.Exit(asyncio.run(play(out(), fast=fast)))


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"keawatch {__version__}\n")
