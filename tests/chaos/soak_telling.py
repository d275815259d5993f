"""
Makes docs/soak.md and docs/soak.json of what came of a soak; the soak itself does so at its end.

    python -m tests.chaos.soak_telling                  writes docs/soak.md anew, of docs/soak.json
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from tests.chaos.soak_reasons import ALONE, EXPLAINED, EXPLAINED_SEED, OPENING, SAYS

Row = Mapping[str, Any]
DOCS = Path(__file__).parents[2] / "docs"
WIDTH = 120
HEAD = (
    "| {} | Faults | Redundant again | Seconds until then, median / longest | Exchanges lost | Leases lost |"
    " Plans, of these failed / put off | Wrong actions | Untrue words |"
)


def document(about: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """Return the whole document."""
    known = about.get("seed") == EXPLAINED_SEED  # What is explained is explained of that run alone.
    return "\n".join(
        [
            "# Soak",
            "",
            *_paragraphs(OPENING.format(**{"beside": "", **about, **_figures(rows)})),
            *_table("Fault", rows, "fault"),
            *_table("Pair", rows, "pair"),
            "## What was not as it should be",
            "",
            *(_paragraphs(SAYS.format(**_figures(rows))) if known else []),
            *_bad(rows, EXPLAINED if known else {}),
            *_as_kea_alone(rows),
        ]
    )


def is_bad(row: Row) -> bool:
    """Return whether something is to be explained about a fault."""
    return bool(not row["redundant"] or row["wrong"] or not is_true(row) or silently_lost(row) or _apart(row))


def is_true(row: Row) -> bool:
    """Return whether keawatch's last word was so; to say ADDRESS_TWICE alone is to say that the leases are alike."""
    return bool(row["true"]) and not (row["code"] == "ADDRESS_TWICE" and _apart(row))


def silently_lost(row: Row) -> int:
    """Return how many leases were lost beside those whose address a server has for another client."""
    return int(row["lost"] - row["lost_to_another"])


def _apart(row: Row) -> int:
    return sum((row["differences"] or {}).values())


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    seconds = sorted(row["seconds"] for row in rows if row["seconds"] is not None)
    return {
        "faults": len(rows),
        "pairs": len({(row["pair"], row["run"]) for row in rows}),
        "redundant": sum(row["redundant"] for row in rows),
        "median": f"{statistics.median(seconds):.1f}",
        "nine_tenths": f"{seconds[len(seconds) * 9 // 10]:.1f}",
        "longest": f"{seconds[-1]:.1f}",
        "sent": sum(row["exchanges"].get("sent", 0) for row in rows),
        "exchanges_lost": sum(row["exchanges"].get("lost", 0) for row in rows),
        "silently_lost": sum(silently_lost(row) for row in rows),
        "lost_to_another": sum(row["lost_to_another"] for row in rows),
        "plans": sum(len(row["plans"]) for row in rows),
        "wrong": sum(len(row["wrong"]) for row in rows),
        "untrue": sum(not is_true(row) for row in rows),
        "bad": sum(is_bad(row) for row in rows),
        "versions": ", ".join(sorted({version for row in rows for version in row["versions"]})),
    }


def _paragraphs(text: str) -> list[str]:
    parts = text.strip().split("\n\n")
    return [line for part in parts for line in (fill(part, WIDTH, break_long_words=False, break_on_hyphens=False), "")]


def _table(title: str, rows: Sequence[Row], by: str) -> list[str]:
    head = HEAD.format(title)
    groups = dict.fromkeys(row[by] for row in rows)
    lines = [
        _line(group, [row for row in rows if row[by] == group])
        for group in (groups if by == "pair" else sorted(groups))
    ]
    return [head, "|" + "---|" * (head.count("|") - 1), *lines, _line("all", rows), ""]


def _line(name: str, rows: Sequence[Row]) -> str:
    seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
    plans = [plan for row in rows for plan in row["plans"]]
    sent, lost = (sum(row["exchanges"].get(key, 0) for row in rows) for key in ("sent", "lost"))
    to_another = sum(row["lost_to_another"] for row in rows)
    cells = (
        name,
        len(rows),
        sum(row["redundant"] for row in rows),
        f"{statistics.median(seconds):.1f} / {max(seconds):.1f}" if seconds else "-",
        f"{lost} of {sent}",
        f"{sum(silently_lost(row) for row in rows)}" + (f" (and {to_another} to another client)" if to_another else ""),
        _told(plans),
        sum(len(row["wrong"]) for row in rows),
        sum(not is_true(row) for row in rows),
    )
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _told(plans: Sequence[Row]) -> str:
    # What is put off until the link is back or keawatch runs again is no failure (docs/architecture.md).
    put_off = sum(plan["result"] == "interrupted" for plan in plans)
    failed = sum(plan["result"] != "ok" for plan in plans) - put_off
    return f"{len(plans)}, {failed} / {put_off}"


def _bad(rows: Iterable[Row], why: Mapping[int, str]) -> list[str]:
    return [
        fill(_complaint(row, why.get(row["number"], "")), WIDTH, subsequent_indent="  ", break_long_words=False)
        for row in rows
        if is_bad(row)
    ] + [""]


def _as_kea_alone(rows: Iterable[Row]) -> list[str]:
    said = [(row, text) for row in rows for text in row.get("as_kea_alone", ())]
    if not said:
        return []
    lines = [
        fill(
            f"- {row['number']}, {row['fault']} ({row['how']}; Kea {row['pair']}): {text}.",
            WIDTH,
            subsequent_indent="  ",
            break_long_words=False,
        )
        for row, text in said
    ]
    return ["## What clients waited for with Kea alone as well", "", *_paragraphs(ALONE), *lines, ""]


def _complaint(row: Row, explained: str) -> str:
    said = [*row["wrong"]]
    if not row["redundant"]:
        said.append(f"not redundant within the time: {' / '.join(row['states'])}")
    if not is_true(row):
        said.append("its word was not so")
    if lost := silently_lost(row):
        said.append(f"{lost} leases lost")
    if apart := _apart(row):
        said.append(f"{apart} leases differed at the end")
    held = f", held back by {', '.join(dict.fromkeys(row['withheld']))}" if row["withheld"] else ""
    return (
        f"- {row['number']}, {row['fault']} ({row['how']}; Kea {row['pair']}): {'; '.join(said)}. keawatch said at the end "
        f"`{row['code']}`{held}. {explained}"
    ).strip()


def write(about: Mapping[str, Any], every: Sequence[Row]) -> None:
    """Write both; where logs were kept is of interest on that machine alone."""
    rows = [{key: value for key, value in row.items() if key != "logs"} for row in every]
    (DOCS / "soak.json").write_text(json.dumps({"about": about, "faults": rows}, indent=1) + "\n", encoding="utf-8")
    (DOCS / "soak.md").write_text(document(about, rows), encoding="utf-8")


def main() -> None:
    """Write the document anew."""
    known = json.loads((DOCS / "soak.json").read_text(encoding="utf-8"))
    write(known["about"], known["faults"])


if __name__ == "__main__":
    main()
