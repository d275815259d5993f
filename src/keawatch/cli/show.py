"""
Shows status, plans, outcomes and history to people; the data is the JSON that programs get.

What is said in it was said by Kea, by people and by files: it is never read as rich's markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

_COLOURS = {"ok": "green", "info": "cyan", "warning": "yellow", "critical": "bold red"}
_RESULTS = {
    "done": "green",
    "skipped": "dim",
    "unmet": "yellow",
    "refused": "red",
    "stopped": "red",
    "ok": "green",
    "failed": "bold red",
}


def status(console: Console, data: Mapping[str, Any]) -> None:
    """Show every pair."""
    for pair in data["pairs"]:
        # A frame cuts off what may not be wrapped, also where nobody sees the edge of a terminal.
        console.print(pair_panel(pair), soft_wrap=False)


def pair_panel(pair: Mapping[str, Any]) -> RenderableType:
    """Return one pair as a panel: the sentence, both servers, what is or would be done."""
    diagnosis = pair["diagnosis"]
    colour = _COLOURS[diagnosis["severity"]]
    title = Text.assemble((pair["name"], "bold"), f" {pair.get('service', '')} {pair['mode']}")
    sentence = Text.assemble((diagnosis["code"], colour), "  ", diagnosis["sentence"])
    parts: list[RenderableType] = [sentence, _servers(pair["servers"])]
    parts += [_backup_line(backup) for backup in pair.get("backups", ())]
    parts += [
        Text(f"also {other['code']}: {other['sentence']}", _COLOURS[other["severity"]])
        for other in pair.get("also", ())
    ]
    parts += [
        Text(line, "yellow")
        for server in pair["servers"]
        for line in (_rejected_line(server), _log_line(server))
        if line
    ]
    plan = pair.get("plan")
    if plan:
        parts.append(_plan_line(plan))
    parts += [Text.assemble(("not now: ", "dim"), held["reason"]) for held in pair["withheld"]]
    if pair.get("trouble"):
        parts.append(Text(pair["trouble"], "bold red"))
    return Panel(Group(*parts), title=title, title_align="left", border_style=colour, box=box.ROUNDED)


def _backup_line(backup: Mapping[str, Any]) -> Text:
    if not backup["watched"]:
        said = "not watched: keawatch's configuration has no [[pair.backup]] for it"
    elif backup["answer"] != "ok":
        said = f"no answer ({backup['answer']})"
    else:
        compared = backup["comparison"]
        kinds = ("missing", "extra", "older", "newer", "owner", "state", "differs")
        differences = sum(compared[kind] for kind in kinds) if compared else None
        leases = "?" if backup["leases"] is None else f"{backup['leases']:,}"
        known = "not compared yet" if differences is None else f"{differences} differences"
        said = f"{backup['state'] or '?'}, Kea {backup['kea_version'] or '?'}, {leases} leases, {known}"
    return Text.assemble(("backup server ", "dim"), backup["name"], f": {said}")


def _rejected_line(server: Mapping[str, Any]) -> str | None:
    """Return how many clients a server counts as rejected, if any."""
    rejected = server.get("rejected")
    if not rejected or not rejected["clients"]:
        return None
    limit = f" of {rejected['limit']}" if rejected["limit"] else ""
    causes = ", ".join(f"{cause} {number}" for cause, number in rejected["causes"].items())
    full = f", full at {rejected['full_at'][11:19]} UTC at this rate" if rejected["full_at"] else ""
    return f"{server['name']} counts {rejected['clients']}{limit} rejected clients ({causes}){full}"


def _log_line(server: Mapping[str, Any]) -> str | None:
    """Return why a server's log tells nothing, or not all, if so."""
    log = server.get("log")
    if not log or (log["up"] and not log["why"]):
        return None
    return f"the log of {server['name']}{'' if log['up'] else ' is not read'}: {log['why']}"


def _plan_line(plan: Mapping[str, Any]) -> Text:
    if plan.get("under_way"):
        return Text.assemble(("doing ", "cyan"), plan["strategy"], ": ", plan.get("step") or plan["summary"])
    pause = f"announced pause {plan['announced_pause']:g} s"
    return Text.assemble(("plan ", "cyan"), plan["strategy"], ": ", plan["summary"], f" ({pause})")


def _servers(servers: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("server", "role", "state", "serves", "answer", "Kea", "clock", "leases"):
        table.add_column(column, overflow="fold")
    for server in servers:
        serving = server["serving"]
        table.add_row(
            server["name"],
            server["role"] or "?",
            server["state"] or "?",
            Text("yes" if serving else "no", "green" if serving else "dim"),
            server["answer"],
            server["kea_version"] or "?",
            "?" if server["clock_skew"] is None else f"{server['clock_skew']:+.0f} s",
            "?" if server["leases"] is None else f"{server['leases']:,}",
        )
    return table


def _of(pair: Mapping[str, Any], words: str) -> Text:
    return Text.assemble((pair["name"], "bold"), ": ", words)


def plan(console: Console, pair: Mapping[str, Any]) -> None:
    """Show a plan step by step, and what holds it back."""
    planned = pair.get("plan")
    if not planned:
        console.print(_of(pair, f"nothing to be done. {pair['diagnosis']['sentence']}"))
    else:
        console.print(_of(pair, f"{planned['strategy']} against {planned['code']}"))
        console.print(planned["summary"])
        console.print(f"Expected time without service: {planned['announced_pause']:g} s")
        console.print(steps(planned["steps"]))
    for held in pair["withheld"]:
        console.print(Text.assemble((f"{held['strategy']}: ", "yellow"), held["reason"]))


def steps(items: Sequence[Mapping[str, Any]]) -> Table:
    """Return steps as a table."""
    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    for column in ("#", "step", "command"):
        table.add_column(column, overflow="fold")
    for number, step in enumerate(items, 1):
        table.add_row(str(number), step["title"], Text(step["order"] or "wait", "cyan" if step["order"] else "dim"))
    return table


def outcome(console: Console, data: Mapping[str, Any]) -> None:
    """Show what became of a plan."""
    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    for column in ("step", "result", "seconds", "reply or what was seen"):
        table.add_column(column, overflow="fold")
    for step in data["steps"]:
        words = step.get("seen") or step.get("reply") or ""
        table.add_row(
            step["title"], Text(step["result"], _RESULTS.get(step["result"], "")), f"{step['seconds']:.2f}", words
        )
    console.print(table)
    colour = _RESULTS.get(data["result"], "red")
    console.print(
        Text.assemble((data["result"], colour), f": {data.get('reason', '')}"),
        f"Seconds without service: {data['measured_pause']:g} measured, {data['announced_pause']:g} announced.",
        sep="\n",
    )


def history(console: Console, data: Mapping[str, Any]) -> None:
    """Show journal entries, oldest first."""
    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    for column in ("when (UTC)", "pair", "what", "said"):
        table.add_column(column, overflow="fold")
    for entry in data["entries"]:
        table.add_row(entry["at"][:19].replace("T", " "), entry["pair"], entry["kind"], entry["text"])
    console.print(table)


_EXPLAINED = (
    ("meaning", "What it means"),
    ("served", "Who is served"),
    ("kea_next", "What Kea does next"),
    ("keawatch_does", "What keawatch does"),
    ("you_can", "What you can do"),
)


def explanation(console: Console, word: str, text: Mapping[str, str]) -> None:
    """Show the explanation of one word."""
    console.print(Text.assemble((word, "bold"), f"  {text['title']}"))
    for key, heading in _EXPLAINED:
        console.print(Text.assemble((f"{heading}: ", "cyan"), text[key]))


def explained(console: Console, pair: Mapping[str, Any]) -> None:
    """Show how a pair's diagnosis is known, and what follows from it."""
    diagnosis = pair["diagnosis"]
    console.print(_of(pair, diagnosis["sentence"]))
    console.print("How that is known:")
    for line in diagnosis["evidence"]:
        console.print(f"  - {line}")
    for other in pair.get("also", ()):
        console.print(f"Also {other['code']}: {other['sentence']}")
        for line in other["evidence"]:
            if line not in diagnosis["evidence"]:
                console.print(f"  - {line}")
    explanation(console, diagnosis["code"], pair["explanation"])
    plan(console, pair)
