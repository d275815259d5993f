"""Holds every command; each reads the configuration, asks the daemon or the servers, and shows what came of it."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from keawatch import __version__
from keawatch.cli import show
from keawatch.cli.acting import heal_here, heal_through
from keawatch.cli.exits import Exit, UsageError, guarded
from keawatch.cli.remote import Remote, daemon_of
from keawatch.config import Config, PairConfig, load
from keawatch.core.atlas import CODES, STATES, explain_code, explain_state
from keawatch.core.model import Pause
from keawatch.core.policy import Strategy
from keawatch.daemon import shown
from keawatch.daemon.app import Daemon, bystander
from keawatch.daemon.clock import now
from keawatch.daemon.journal import Journal
from keawatch.logs import configure

DEFAULT_CONFIG = Path(
    "/usr/local/etc/keawatch/config.toml" if "freebsd" in sys.platform else "/etc/keawatch/config.toml"
)

app = typer.Typer(
    name="keawatch",
    help="Watches both servers of a Kea HA pair and brings the pair back to redundant service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigOption = Annotated[Path, typer.Option("-c", "--config", metavar="FILE", help="The configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
PairOption = Annotated[str | None, typer.Option("-p", "--pair", metavar="NAME", help="Only this pair.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit with the status that ``Exit`` describes."""
    configure()
    guarded(lambda: app(arguments, standalone_mode=True))


def _out() -> Console:
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def _print_json(data: Any) -> None:
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


def _chosen(config: Config, name: str | None) -> list[PairConfig]:
    chosen = [pair for pair in config.pair if name in {None, pair.name}]
    if not chosen:
        known = ", ".join(pair.name for pair in config.pair)
        raise UsageError(f"there is no pair {name!r} in the configuration; it has: {known}")
    return chosen


def _only(config: Config, name: str | None) -> PairConfig:
    chosen = _chosen(config, name)
    if len(chosen) > 1:
        raise UsageError(f"which pair? Say --pair and one of: {', '.join(pair.name for pair in chosen)}")
    return chosen[0]


def _status(config: Config, name: str | None) -> dict[str, Any]:
    """Return the pairs as the daemon sees them, or as they are seen now when none runs."""
    remote = daemon_of(config)
    chosen = {pair.name for pair in _chosen(config, name)}
    if remote:
        data = remote.get("/api/v1/pairs")
        return {**data, "pairs": [pair for pair in data["pairs"] if pair["name"] in chosen]}
    return asyncio.run(_seen(config, name))


async def _seen(config: Config, name: str | None) -> dict[str, Any]:
    views = []
    for pair in _chosen(config, name):
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
    check: Annotated[bool, typer.Option("--check", help="Only read the configuration and say what is wrong.")] = False,
) -> None:
    """Run the daemon in the foreground, until SIGTERM or Ctrl-C."""
    configure(json=True if json_log else None)
    loaded = load(config)
    if check:
        return
    asyncio.run(Daemon(config, loaded).run())


@app.command()
def status(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None, *, json_: JsonOption = False) -> None:
    """Say in one sentence a pair how it stands. Exit status 1 when something is wrong, 3 when nothing can be seen."""
    data = _status(load(config), pair)
    _print_json(data) if json_ else show.status(_out(), data)
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
        _print_json(explained)
        return
    for entry in explained["pairs"]:
        show.explained(_out(), entry)


def _explain_word(word: str, *, json_: bool) -> None:
    upper, lower = word.upper().replace("-", "_"), word.lower()
    if upper in CODES and lower not in STATES:
        text = explain_code(upper)
    elif lower in STATES:
        text = explain_state(lower)
    else:
        raise UsageError(f"{word!r} is neither a diagnosis nor an HA state; known are {', '.join((*CODES, *STATES))}")
    _print_json({"word": word, "explanation": text}) if json_ else show.explanation(_out(), word, text)


@app.command()
def plan(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None, *, json_: JsonOption = False) -> None:
    """Show what would be done, step by step, what it costs, and what holds it back. Nothing is done."""
    data = _status(load(config), pair)
    if json_:
        keys = ("name", "diagnosis", "plan", "withheld")
        _print_json({"pairs": [{key: entry[key] for key in keys} for entry in data["pairs"]]})
        return
    for entry in data["pairs"]:
        show.plan(_out(), entry)


@app.command()
def heal(
    config: ConfigOption = DEFAULT_CONFIG,
    pair: PairOption = None,
    strategy: Annotated[Strategy | None, typer.Option(help="Only this way of healing.")] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: JsonOption = False,
) -> None:
    """Heal a pair now. Shows the plan first and asks; the laws of safety hold for a person too."""
    loaded = load(config)
    chosen = _only(loaded, pair)
    remote = daemon_of(loaded)
    agreed = _agreement(yes=yes, json_=json_)
    if remote:
        data = heal_through(remote, chosen.name, strategy, agreed)
    else:
        console = None if json_ else Console(stderr=True)
        data = asyncio.run(heal_here(loaded, chosen, strategy, agreed, console))
    _print_json(data) if json_ else show.outcome(_out(), data)
    raise typer.Exit({"ok": Exit.WELL, "refused": Exit.REFUSED}.get(data["result"], Exit.FAILED))


def _agreement(*, yes: bool, json_: bool) -> Callable[[dict[str, Any]], None]:
    """Return what shows a plan and asks a person; it raises UsageError or Exit when there is no agreement."""

    def agreed(entry: dict[str, Any]) -> None:
        if not json_:
            show.plan(_out(), entry)
        if yes:
            return
        if json_ or not sys.stdin.isatty():
            raise UsageError("this changes a server and there is nobody to ask: say --yes")
        if not typer.confirm("Do this?"):
            raise typer.Exit(Exit.REFUSED)

    return agreed


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
        _chosen(loaded, pair)
    journal = Journal(loaded.watch.state_dir)
    data = shown.history(journal.entries(pair, limit=limit))
    journal.close()
    _print_json(data) if json_ else show.history(_out(), data)


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
    owner = _user()
    loaded = load(config)
    for chosen in _chosen(loaded, pair):
        remote = daemon_of(loaded)
        if remote:
            remote.post(f"/api/v1/pairs/{chosen.name}/pause", {"seconds": seconds, "reason": reason, "owner": owner})
        else:
            until = None if seconds is None else now() + timedelta(seconds=seconds)
            _settle(loaded, chosen, Pause(now(), until, reason, owner))
        _out().print(f"{chosen.name} is paused {'for ' + for_ if for_ else 'until `keawatch resume`'}.")


@app.command()
def resume(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None) -> None:
    """End a pause."""
    loaded = load(config)
    for chosen in _chosen(loaded, pair):
        remote = daemon_of(loaded)
        remote.post(f"/api/v1/pairs/{chosen.name}/resume", {}) if remote else _settle(loaded, chosen, None)
        _out().print(f"{chosen.name} is watched and healed again as its autonomy says.")


@app.command()
def ack(config: ConfigOption = DEFAULT_CONFIG, pair: PairOption = None) -> None:
    """Say that the cause was looked at: the breaker closes, and keawatch may try again."""
    loaded = load(config)
    for chosen in _chosen(loaded, pair):
        remote: Remote | None = daemon_of(loaded)
        if remote:
            remote.post(f"/api/v1/pairs/{chosen.name}/ack", {"owner": _user()})
        else:
            journal = Journal(loaded.watch.state_dir)
            journal.acknowledge(chosen.name, _user())
            journal.close()
        _out().print(f"{chosen.name}: acknowledged.")


def _settle(config: Config, pair: PairConfig, pause_: Pause | None) -> None:
    journal = Journal(config.watch.state_dir)
    journal.set_pause(pair.name, pause_)
    journal.close()


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text.strip())
    if not match or float(match[1]) <= 0:
        raise UsageError(f"{text!r} is not a length of time; say 90s, 30m, 2h or 3d")
    return float(match[1]) * _UNITS[match[2]]


def _user() -> str:
    import getpass  # noqa: PLC0415 - seldom needed

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


@app.command()
def doctor(config: ConfigOption = DEFAULT_CONFIG, *, json_: JsonOption = False) -> None:
    """Examine keawatch's own installation: files, rights, and what each server accepts at each address."""
    from keawatch.cli.advising import examine_and_show  # noqa: PLC0415 - loads more than most commands need

    raise typer.Exit(examine_and_show(load(config), _out(), json_=json_))


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

    raise typer.Exit(discover_and_write(output, _out(), force=force))


@app.command()
def demo(
    *, fast: Annotated[bool, typer.Option("--fast", help="Shorter timers, for a test of the demo itself.")] = False
) -> None:
    """Show a simulated pair die of rejected lease updates, and keawatch heal it; in under two minutes, without root."""
    from keawatch.cli.demo import play  # noqa: PLC0415 - the simulated pair is for this alone

    raise typer.Exit(asyncio.run(play(_out(), fast=fast)))


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"keawatch {__version__}\n")
