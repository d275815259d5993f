"""
Tries on real Kea what `keawatch lint` advises: one situation with the configuration that a rule warns of, and with the one that it advises.

    python -m tests.kea_pair.advice                         # every rule, about fifteen minutes; writes docs/advice.md and docs/advice.json
    python -m tests.kea_pair.advice --only persist-off      # one rule, or a pattern such as 'ha-unacked-.*'; the others keep their results
    python -m tests.kea_pair.advice --page                  # only writes the page anew

A rule that does not find the first configuration, or finds the second, is an error, and so is a promise that is not kept.
"""

import argparse
import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from keawatch.core.model import version_of
from keawatch.lint import run
from keawatch.lint.dialect import parse
from keawatch.lint.host import read_ip
from tests.kea_pair.advice_trials import TRIALS, UNPROVEN, Trial
from tests.kea_pair.config import Json
from tests.kea_pair.lab import Lab, LabError, Pair, side_by_side
from tests.kea_pair.roots import kea_version

DOCS = Path(__file__).parents[2] / "docs"
PAGE, RESULTS = DOCS / "advice.md", DOCS / "advice.json"
BY_RULE = {trial.rule: trial for trial in TRIALS}


@dataclass(frozen=True)
class Case:
    """One of the two plays of a rule."""

    rule: str
    advised: bool

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.rule} {'with' if self.advised else 'without'} the advice"


@dataclass(frozen=True)
class Played:
    """What one play came to."""

    figures: Json
    kea: str


def play(lab: Lab, case: Case) -> Played:
    """Play a rule's situation with one of its two configurations, having seen that the rule tells them apart."""
    trial = BY_RULE[case.rule]
    trial.prepare(lab)
    pair = lab.pair(trial.advised_spec or trial.spec if case.advised else trial.spec)
    configure(pair, trial, advised=case.advised)
    if (case.rule in found(lab, pair)) == case.advised:
        raise LabError(f"the rule {'finds' if case.advised else 'does not find'} the configuration")
    return Played(trial.play(lab, pair), kea_version(pair.primary.place.root))


def configure(pair: Pair, trial: Trial, *, advised: bool) -> None:
    """Change the configurations of a pair that has not started."""
    setup = trial.advised if advised else trial.warned
    for node, change in zip(pair.nodes, (setup.primary, setup.standby), strict=True):
        config: Json = json.loads(node.config_path.read_text())
        change(config)
        node.config_path.write_text(json.dumps(config, indent=2))


def found(lab: Lab, pair: Pair) -> set[str]:
    """Return the rules that find something in a pair's configurations, on their own hosts."""
    subjects = []
    for node in pair.nodes:
        addresses = read_ip(lab.run_in(node.name, ["ip", "-4", "-o", "address", "show"]))
        told = run.Told(node.name, version_of(kea_version(node.place.root)), addresses)
        subjects.append(run.subject_of(parse(node.config_path.read_text(), f"{node.name}.conf"), None, told))
    return {finding.rule for finding in run.lint(subjects)}


def prove(trial: Trial) -> Json:
    """Play a rule both ways, side by side, and return what is kept of it."""
    warned, advised = Case(trial.rule, advised=False), Case(trial.rule, advised=True)
    try:
        seen = side_by_side(play, (warned, advised))
    except LabError as error:
        print(error, file=sys.stderr, flush=True)
        return {"error": re.sub(r" \(logs: .*?\)", "", str(error).splitlines()[0])}
    without, with_it = seen[warned], seen[advised]
    return {
        "kea": without.kea,
        "on": time.strftime("%Y-%m-%d"),
        "without": without.figures,
        "with": with_it.figures,
        "kept": bool(trial.keeps(without.figures, with_it.figures)),
    }


# --- the page

ABOUT = """\
# What lint's advice is worth

`keawatch lint` warns of configurations that Kea takes and that cost service on a bad day. Here each such situation was played
twice on a fresh pair of real servers in network namespaces, side by side: with the configuration that the rule warns of, and with
the one that it advises. The rule was seen to find the first and not the second. Each figure is of a single play. Some values are
far beyond a rule's limit, so that the effect is there within seconds; the limits themselves are not what was tried.

Where nothing else is said, heartbeat-delay and max-ack-delay are 1 s (Kea's defaults: 10 s) and max-response-delay is 3 or 4 s
(60 s), so that what waits for them is over sooner here; where a primary dies, the standby's own wait is among the exchanges not
answered with the advice. Two states are those of primary and standby.

`make advice` plays all of it again, `make advice RULE=persist-off` one rule. The raw figures are in [advice.json](advice.json),
the rules in [lint.md](lint.md). `pair-one-database` needs PostgreSQL's programs on the machine (`apt-get install postgresql`).
Rules of the severity error are shown by tests (`tests/kea_pair/test_lint.py`).
"""
UNPROVEN_ABOUT = """\
## Not played

The other warnings, and infos that promise an effect:
"""
HEAD = "| Rule | Played | Without the advice | With it | Kea |\n|---|---|---|---|---|\n"


def told_by(trial: Trial, result: Json) -> bool:
    """Return whether figures hold all that the page tells of them: a play may have changed since."""
    wanted = {name for _, name, _, _ in Formatter().parse(trial.told) if name}
    return "error" in result or all(wanted <= result[key].keys() for key in ("without", "with"))


def page(results: Json) -> str:
    """Return docs/advice.md."""
    rows = "".join(f"{_row(trial, results.get(trial.rule))}\n" for trial in TRIALS)
    reasons = "".join(f"| `{rule}` | {reason} |\n" for rule, reason in UNPROVEN.items())
    return f"{ABOUT}\n{HEAD}{rows}\n{UNPROVEN_ABOUT}\n| Rule | Why not |\n|---|---|\n{reasons}"


def _row(trial: Trial, result: Json | None) -> str:
    if result is None or not told_by(trial, result):
        cells = ["not played yet", "", ""]
    elif "error" in result:
        cells = [f"ERROR: {result['error']}", "", ""]
    else:
        broken = "" if result["kept"] else " (NOT AS THE RULE SAYS)"
        cells = [_words(trial, result["without"]), _words(trial, result["with"]) + broken, result["kea"]]
    return f"| `{trial.rule}` | {trial.played} | {' | '.join(cells)} |"


def _words(trial: Trial, figures: Json) -> str:
    told = {
        key: {True: "yes", False: "no"}[value] if isinstance(value, bool) else value for key, value in figures.items()
    }
    return trial.told.format(**told)


def read() -> Json:
    """Return what was played before."""
    return dict(json.loads(RESULTS.read_text(encoding="utf-8"))) if RESULTS.exists() else {}


def write(results: Json) -> None:
    """Write both documents, in the order of the rules."""
    ordered = {rule: results[rule] for rule in BY_RULE if rule in results}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(ordered), encoding="utf-8")


def main() -> int:
    """Play and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=".*", metavar="RULE", help="a rule, or a pattern that its whole name matches")
    parser.add_argument("--page", action="store_true", help="play nothing, write the page of what was played before")
    chosen = parser.parse_args()
    todo = [trial for trial in TRIALS if re.fullmatch(chosen.only, trial.rule)]
    if not todo:
        parser.error(f"no rule that is tried is called {chosen.only}; those that are: {', '.join(BY_RULE)}")
    failed = []
    for trial in () if chosen.page else todo:
        begun = time.monotonic()
        result = prove(trial)
        write(read() | {trial.rule: result})
        print(f"{_row(trial, result)} {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
        if not result.get("kept"):
            failed.append(trial.rule)
    write(read())
    if failed:
        print(f"not as the rule says: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
