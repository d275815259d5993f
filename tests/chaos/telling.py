"""
Makes docs/faults.md of what came of the faults.
"""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import fill
from typing import Any

from keawatch import __version__
from tests.chaos.play import Played
from tests.chaos.reasons import SAYS
from tests.chaos.scenes import SCENES, Scene
from tests.chaos.stage import CLIENTS, HEARTBEAT, MAX_RESPONSE, RATE, Column
from tests.chaos.verdict import name, wrong

Results = Mapping[tuple[str, str, bool], Played]
"""By fault, column, and whether keawatch acted."""

WIDTH = 120
UNBROKEN: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
HEAD = (
    "| Kea | Kea alone ends in | keawatch says | With keawatch it ends in | Redundant after, alone / with |"
    " Exchanges lost, alone / with | Leases lost, alone / with | Leases that differ, alone / with | Wrong actions | Plans |"
)

OPENING = f"""
Measured on {{date}} with Kea {{kea}} and keawatch {{keawatch}}, DHCPv4 where nothing else is said, by `make faults`. Each fault was
played twice on a fresh pair of real servers in network namespaces: once with keawatch in `observe`, which changes nothing, so
that Kea is alone, and once with `auto`. The raw results, each with the commit that was played, are in [faults.json](faults.json).
What was not played says so. (b57782f and dc425ba were states of work on the way to b797687, and are not kept.)
What each guard and condition is missed by when it is taken out stands in [mutants.md](mutants.md).

{RATE} exchanges a second from {CLIENTS} clients all through; heartbeat-delay {HEARTBEAT:g} s, max-response-delay
{MAX_RESPONSE:g} s (8 s where the link is cut). keawatch: interval 1 s, confirm_for 2 s, grace 4 s, cooldown 5 s, the rest as
delivered. These are shorter than the defaults, so what lasts a heartbeat here lasts 10 s there. Each figure is of a single
play, a few at a time on two cores that did other work as well; a pause that depends on when a heartbeat falls differs by up to a
heartbeat from one play to the next.

**Redundant after**: seconds from when the cause was gone until both servers were at work with DHCP on, and stayed so; seen at
the servers five times a second, not asked of keawatch. **Exchanges lost**: begun by perfdhcp and not ended in an ACK, and in brackets how long no ACK came, from 1 s
before the fault to the end. **Leases lost**: clients whose last ACK, read off the wire, is on neither server at the end; in brackets, how many of them because
a server has their address for another client.
**Leases that differ**: addresses at which the two databases are not alike at the end, counted by a judge that is not keawatch.
**Wrong actions**: a plan in which clients waited over 1 s longer than it announced, a worse end than with Kea alone, or an `OK`
that was not so. Leases that two clients had and of which keawatch tells who keeps them are not counted there.

{{watched}} plays with keawatch, {{faulty}} of them with something in the column of wrong actions:
"""


def document(results: Results, about: Mapping[str, Any], errors: Mapping[str, str]) -> str:
    """Return the whole document."""
    parts = [_opening(results, about)]
    parts += [_section(scene, results, errors) for scene in SCENES]
    return "\n".join(parts)


def _opening(results: Results, about: Mapping[str, Any]) -> str:
    watched = [played for (_, _, acts), played in results.items() if acts]
    faulty = [said for played in watched if (said := wrong(_alone(results, played), played))]
    versions = ", ".join(sorted({version for played in results.values() for version in played.versions}))
    figures = {
        "date": about["date"],
        "kea": versions,
        "keawatch": _builds(results),
        "watched": len(watched),
        "faulty": len(faulty),
    }
    paragraphs = [fill(part, WIDTH, **UNBROKEN) for part in OPENING.format(**figures).strip().split("\n\n")]
    return (
        "# Faults\n\n" + "\n\n".join(paragraphs) + "\n\n" + "".join(_complaint(results, played) for played in watched)
    )


def _builds(results: Results) -> str:
    """Return the commits of keawatch that were played, in the order of the plays."""
    commits = dict.fromkeys(
        played.by.removesuffix("-dirty)").rstrip(")").partition("(")[2] for played in results.values()
    )
    return f"{__version__} (commits {', '.join(commits)})"


def _complaint(results: Results, played: Played) -> str:
    said = wrong(_alone(results, played), played)
    if not said:
        return ""
    title = next(scene.title for scene in SCENES if scene.key == played.fault)
    text = f"- {title} (Kea {played.column}): {'; '.join(said)}."
    return fill(text, WIDTH, subsequent_indent="  ", **UNBROKEN) + "\n"


def _alone(results: Results, played: Played) -> Played | None:
    return results.get((played.fault, played.column, False))


def _section(scene: Scene, results: Results, errors: Mapping[str, str]) -> str:
    rows = [_row(scene, column, results, errors) for column in scene.columns]
    says = fill(SAYS[scene.key], WIDTH, **UNBROKEN)
    rule = "|" + "---|" * HEAD.count(" | ") + "---|"
    return "\n".join([f"## {scene.title}", "", says, "", HEAD, rule, *rows, ""])


def _row(scene: Scene, column: Column, results: Results, errors: Mapping[str, str]) -> str:
    alone, watched = (results.get((scene.key, str(column), acts)) for acts in (False, True))
    if alone is None and watched is None:
        return f"| {column} | {_missing(scene, column, errors)} | | | | | | | | |"
    cells = [
        str(column),
        _end(alone),
        _codes(watched or alone),
        _end(watched),
        _two(alone, watched, _after),
        _two(alone, watched, _exchanges),
        _two(alone, watched, lambda played: f"{played.lost} ({played.taken})" if played.taken else str(played.lost)),
        _two(alone, watched, lambda played: "?" if played.apart is None else str(played.apart)),
        ("; ".join(wrong(alone, watched)) or "none") if watched else "not measured",
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
