"""Shows what decisions of the past would be now (``replay``)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keawatch.cli.common import JsonOption, out, print_json
from keawatch.cli.exits import Exit, UsageError
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.replay import NoJournalError, Replayed, decisions_in
from keawatch.daemon.replay import replay as decide_again

_SAME = {True: ("same", "green"), False: ("another", "bold red"), None: ("not replayable", "yellow")}


def replay(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A journal.sqlite3, a copy of one, or a bundle's journal.jsonl.")
    ],
    *,
    json_: JsonOption = False,
) -> None:
    """Decide again what was decided, on what was seen then, and say where the answer is another now. Asks no server."""
    try:
        replayed = list(decide_again(decisions_in(file)))
    except NoJournalError as error:
        raise UsageError(str(error)) from error
    counts = Counter(_SAME[one.same][0] for one in replayed)
    if json_:
        print_json(
            {"decisions": [_shown(one) for one in replayed], **{_key(word): counts[word] for word, _ in _SAME.values()}}
        )
    else:
        _show(out(), replayed, counts)
    raise typer.Exit(_exit(counts))


def _exit(counts: Counter[str]) -> Exit:
    if counts["another"]:
        return Exit.PROBLEM
    return Exit.BLIND if counts["not replayable"] and not counts["same"] else Exit.WELL


def _key(word: str) -> str:
    return word.replace(" ", "_")


def _shown(one: Replayed) -> dict[str, Any]:
    return {
        "number": one.number,
        "at": jsonable(one.at),
        "pair": one.pair,
        "was": jsonable(one.was),
        "is": jsonable(one.now),
        "same": one.same,
        "not_replayable": one.why,
    }


def _show(console: Console, replayed: list[Replayed], counts: Counter[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    for column in ("when (UTC)", "pair", "was", "is", "same?"):
        table.add_column(column, overflow="fold")
    for one in replayed:
        word, colour = _SAME[one.same]
        is_now = f"not replayable: {one.why}" if one.why else "the same" if one.same else str(one.now)
        said = (_visible(text) for text in (one.pair, str(one.was or "?"), is_now))
        table.add_row(f"{one.at:%Y-%m-%d %H:%M:%S}", *said, Text(word, colour))
    if replayed:
        console.print(table)
    summary = ", ".join(f"{counts[word]} {word}" for word, _ in _SAME.values() if counts[word])
    console.print(f"{len(replayed)} decisions: {summary}." if replayed else "There is no decision in it.")


def _visible(text: str) -> Text:
    """Return *text* as it is: the file may come from anywhere, and must not give orders to a terminal."""
    return Text("".join(letter if letter.isprintable() else "?" for letter in text))
