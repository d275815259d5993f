"""
Makes docs/faults.md of what came of the faults.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

from keawatch import __version__
from tests.chaos.play import Played
from tests.chaos.reasons import SAYS
from tests.chaos.scenes import SCENES, Scene
from tests.chaos.stage import CLIENTS, HEARTBEAT, MAX_RESPONSE, RATE, Column
from tests.chaos.verdict import name, wrong

Results = Mapping[tuple[str, str, bool], Sequence[Played]]
"""By fault, column, and whether keawatch acted; mostly one play."""

WIDTH = 120
UNBROKEN: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
HEAD = (
    "| Kea | Kea alone ends in | keawatch says | With keawatch it ends in | Redundant after, alone / with |"
    " Exchanges lost, alone / with | Leases lost, alone / with | Leases that differ, alone / with | Wrong actions | Plans |"
)

OPENING = f"""
Measured with Kea {{kea}} and keawatch {{version}}, DHCPv4 where nothing else is said, by `make faults`. Each fault was
played twice on a fresh pair of real servers in network namespaces: once with keawatch in `observe`, which changes nothing, so
that Kea is alone, and once with `auto`. The raw results, each with the day and the commit that was played, are in
[faults.json](faults.json); {{days}}.
What was not played says so. (b57782f and dc425ba were states of work on the way to b797687, and are not kept.)
What each guard and condition is missed by when it is taken out stands in [mutants.md](mutants.md).

{RATE} exchanges a second from {CLIENTS} clients all through; heartbeat-delay {HEARTBEAT:g} s, max-response-delay
{MAX_RESPONSE:g} s (8 s where the link is cut). keawatch: interval 1 s, confirm_for 2 s, grace 4 s, cooldown 5 s, the rest as
delivered. These are shorter than the defaults, so what lasts a heartbeat here lasts 10 s there. Each figure is of a single
play, a few at a time on two cores that did other work as well; a pause that depends on when a heartbeat falls differs by up to a
heartbeat from one play to the next. Where a row would be decided by that, the fault was played several times with either, which is said
below its table; the row is of the middle play by exchanges lost.

**Redundant after**: seconds from when the cause was gone until both servers were at work with DHCP on, and stayed so; seen at
the servers five times a second, not asked of keawatch. **Exchanges lost**: begun by perfdhcp and not ended in an ACK, and in brackets how long no ACK came, from 1 s
before the fault to the end. **Leases lost**: clients whose last ACK, read off the wire, is on neither server at the end; in brackets, how many of them because
a server has their address for another client, and of how many addresses keawatch told who keeps them.
**Leases that differ**: addresses at which the two databases are not alike at the end, counted by a judge that is not keawatch.
**Wrong actions**: a plan in which clients waited over 1 s longer than it announced, and than the clients of Kea alone did in the
same seconds while the fault was there; a worse end than with Kea alone; or an `OK` that was not so. Of two clients that were given
one address only one can keep it; those are counted there if they are over 25 more than with Kea alone, or if keawatch told nothing of
more of them than there were with Kea alone. Of several
plays with keawatch the middle one counts for exchanges, and the worst for the rest, beside the worst of Kea alone; addresses with two
clients are compared by the middle one of either. Where in the end nobody is served with either, both are counted up to the same moment.

{{watched}} plays with keawatch in {{rows}} rows, {{faulty}} of the rows with something in the column of wrong actions{{mark}}
"""


def document(results: Results, errors: Mapping[str, str]) -> str:
    """Return the whole document."""
    parts = [_opening(results)]
    parts += [_section(scene, results, errors) for scene in SCENES]
    return "\n".join(parts)


def _opening(results: Results) -> str:
    every = [played for plays in results.values() for played in plays]
    complaints = [_complaint(results, *key[:2]) for key, plays in results.items() if key[2] and plays]
    faulty = len(complaints) - complaints.count("")
    figures = {
        # A server that is down at the end can't say its version in full.
        "kea": ", ".join(sorted({version for one in every for version in one.versions if version.count(".") == 2})),
        "version": __version__,
        "days": _days(every),
        "watched": sum(played.watched for played in every),
        "rows": len(complaints),
        "faulty": faulty or "none",
        "mark": ":" if faulty else ".",
    }
    paragraphs = [fill(part, WIDTH, **UNBROKEN) for part in OPENING.format(**figures).strip().split("\n\n")]
    return "\n\n".join(["# Faults", *paragraphs, *(["".join(complaints).rstrip("\n")] if faulty else ())]) + "\n"


def _days(every: Sequence[Played]) -> str:
    """Return on which days how many plays were made of which commits."""
    told = []
    for day in sorted({played.on for played in every}):
        commits = Counter(_commit(played) for played in every if played.on == day)
        told.append(f"on {day} {', '.join(f'{times} of {commit}' for commit, times in commits.items())}")
    return f"{len(every)} plays, {'; '.join(told)}"


def _commit(played: Played) -> str:
    return played.by.removesuffix("-dirty)").rstrip(")").partition("(")[2]


def _complaint(results: Results, fault: str, column: str) -> str:
    said = wrong(*(results.get((fault, column, acts), ()) for acts in (False, True)))
    if not said:
        return ""
    title = next(scene.title for scene in SCENES if scene.key == fault)
    text = f"- {title} (Kea {column}): {'; '.join(said)}."
    return fill(text, WIDTH, subsequent_indent="  ", **UNBROKEN) + "\n"


def _section(scene: Scene, results: Results, errors: Mapping[str, str]) -> str:
    rows = [_row(scene, column, results, errors) for column in scene.columns]
    says = fill(SAYS[scene.key], WIDTH, **UNBROKEN)
    rule = "|" + "---|" * HEAD.count(" | ") + "---|"
    often = [fill(text, WIDTH, **UNBROKEN) for column in scene.columns if (text := _often(scene, column, results))]
    return "\n".join([f"## {scene.title}", "", says, "", HEAD, rule, *rows, "", *(f"{text}\n" for text in often)])


def _often(scene: Scene, column: Column, results: Results) -> str:
    """Return what came of a row that was played several times."""
    alone, watched = (results.get((scene.key, str(column), acts), ()) for acts in (False, True))
    if max(len(alone), len(watched)) < 2:
        return ""
    figures = [
        f"{_each(alone, tell)} {what} alone, {_each(watched, tell)} with keawatch"
        for what, tell in _FIGURES.items()
        if any(tell(played) for played in (*alone, *watched))
    ]
    return f"Kea {column} was played {_times(alone)} alone and {_times(watched)} with keawatch: {'; '.join(figures)}."


_FIGURES: Mapping[str, Callable[[Played], int]] = {
    "exchanges lost": lambda played: int(played.exchanges["lost"]),
    "leases lost": lambda played: played.lost,
    "addresses with two clients": lambda played: played.twice,
}


def _times(plays: Sequence[Played]) -> str:
    return "once" if len(plays) == 1 else f"{len(plays)} times"


def _each(plays: Sequence[Played], tell: Callable[[Played], int]) -> str:
    figures = [str(tell(played)) for played in plays]
    return f"{', '.join(figures[:-1])} and {figures[-1]}" if figures[1:] else "".join(figures)


def _shown(plays: Sequence[Played]) -> Played | None:
    """Return the play that the table shows: the middle one by exchanges lost."""
    if not plays:
        return None
    return sorted(plays, key=lambda played: int(played.exchanges["lost"]))[(len(plays) - 1) // 2]


def _row(scene: Scene, column: Column, results: Results, errors: Mapping[str, str]) -> str:
    every = [results.get((scene.key, str(column), acts), ()) for acts in (False, True)]
    alone, watched = (_shown(plays) for plays in every)
    if alone is None and watched is None:
        return f"| {column} | {_missing(scene, column, errors)} | | | | | | | | |"
    cells = [
        str(column),
        _end(alone),
        _codes(watched or alone),
        _end(watched),
        _two(alone, watched, _after),
        _two(alone, watched, _exchanges),
        _two(alone, watched, _lost),
        _two(alone, watched, lambda played: "?" if played.apart is None else str(played.apart)),
        ("; ".join(wrong(*every)) or "none") if watched else "not measured",
        _plans(watched),
    ]
    return f"| {' | '.join(cells)} |"


def _missing(scene: Scene, column: Column, errors: Mapping[str, str]) -> str:
    return "not measured" + (
        ": the play failed" if any(key.startswith(f"{scene.key} {column}") for key in errors) else ""
    )


def _end(played: Played | None) -> str:
    if played is None:
        return "not measured"
    primary, standby = played.states
    return primary if primary == standby else f"{primary} / {standby}"


def _codes(played: Played | None) -> str:
    if played is None:
        return "not measured"
    codes = list(dict.fromkeys([*played.codes, played.code]))
    shown = [f"`{code}`" for code in codes if code != played.code]
    return ", ".join([*shown, f"at the end `{played.code}`"])


def _after(played: Played) -> str:
    return f"not within {played.looked_for:.0f} s" if played.seconds is None else f"{played.seconds:.1f} s"


def _exchanges(played: Played) -> str:
    seen = played.exchanges
    return f"{seen['lost']} of {seen['sent']} ({seen['seconds_without_service']:.1f} s)"


def _lost(played: Played) -> str:
    if not played.taken:
        return str(played.lost)
    told = f"; {min(played.told_twice, played.taken)} told" if played.watched else ""
    return f"{played.lost} ({played.taken}{told})"


def _two(alone: Played | None, watched: Played | None, tell: Any) -> str:
    return " / ".join("not measured" if played is None else tell(played) for played in (alone, watched))


def _plans(played: Played | None) -> str:
    if played is None:
        return "not measured"
    return "; ".join(_counted([_plan(plan) for plan in played.plans])) or "none"


def _plan(plan: Mapping[str, Any]) -> str:
    paused = f", {plan['announced_pause']:.1f} s announced" if plan["announced_pause"] else ""
    result = {"ok": "", "open": ": cut off"}.get(plan["result"], f": {plan['result']}")
    return f"{name(dict(plan))}{result}{paused}"


def _counted(names: Sequence[str]) -> Iterable[str]:
    return [f"{names.count(one)} times {one}" if names.count(one) > 1 else one for one in dict.fromkeys(names)]
