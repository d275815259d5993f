"""The documents name what there is, and everything an operator meets has a place in them."""

import ast
import re
from pathlib import Path

import pytest

from keawatch.cli.exits import Exit
from keawatch.core.codes import Code
from keawatch.core.decision import OPERATOR_OVERRULES, Guard
from keawatch.core.plan import Command

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
}
README, RUNBOOK, ARCHITECTURE = (DOCUMENTS[name] for name in ("README.md", "docs/runbook.md", "docs/architecture.md"))

KEPT_IN = re.compile(r"`((?:core|daemon|kea|leases|cli)/\w+\.py):(\w+)`")
A_TEST = re.compile(r"`(tests/[\w/]+\.py)`")
A_COMMAND = re.compile(r"(?:^ {4}|`)keawatch (\w+)", re.MULTILINE)
A_COMMAND_OF_ANOTHER_FILE = re.compile(r"app\.(?:command\(\)\(|add_typer\()\w+\.(\w+)")
A_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")


def commands() -> set[str]:
    """Return the names of keawatch's commands, as the source defines them."""
    source = ast.parse((ROOT / "src/keawatch/cli/commands.py").read_text(encoding="utf-8"))
    functions = [node for node in source.body if isinstance(node, ast.FunctionDef)]
    own = {
        function.name for function in functions if any("app.command" in ast.unparse(d) for d in function.decorator_list)
    }
    added = [ast.unparse(node) for node in source.body if isinstance(node, ast.Expr)]
    return own | {found[1] for text in added if (found := A_COMMAND_OF_ANOTHER_FILE.match(text))}


def anchors(text: str) -> set[str]:
    """Return the anchors that a forge makes of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def section(text: str, heading: str) -> str:
    """Return what stands below a heading of the second level."""
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("code", Code)
class TestADiagnosis:
    def test_has_a_heading_in_the_runbook_that_says_what_to_do(self, code: Code) -> None:
        text = section(RUNBOOK, code)
        for part in ("**You see**", "**It means**", "**keawatch**", "**Do**"):
            assert part in text, part

    def test_has_a_row_in_the_readme(self, code: Code) -> None:
        assert re.search(rf"^\|.*`{code}`.*\|", README, re.MULTILINE)


def test_no_heading_of_the_runbook_is_a_diagnosis_that_is_gone() -> None:
    headings = re.findall(r"^## ([A-Z_]+)$", RUNBOOK, re.MULTILINE)
    assert sorted(headings) == sorted(Code)


@pytest.mark.parametrize("guard", Guard)
def test_a_guard_is_explained_with_whether_a_person_may_overrule_it(guard: Guard) -> None:
    row = re.search(rf"^\| `{guard}` \|.*\| (yes|no) \|$", section(RUNBOOK, "Why did it do nothing?"), re.MULTILINE)
    assert row, "no row"
    assert (row[1] == "yes") == (guard in OPERATOR_OVERRULES)


@pytest.mark.parametrize("status", Exit)
def test_an_exit_status_is_documented(status: Exit) -> None:
    assert re.search(rf"^\| {status.value} \|", ARCHITECTURE, re.MULTILINE)


def test_the_readme_begins_with_the_two_commands_and_has_a_place_for_figures() -> None:
    assert README.index("make demo") < README.index("make test") < README.index("## ")
    assert README.index("<!-- figures -->") < README.index("<!-- /figures -->")


@pytest.mark.parametrize("name", DOCUMENTS)
class TestADocument:
    def test_names_only_commands_that_there_are(self, name: str) -> None:
        assert set(A_COMMAND.findall(DOCUMENTS[name])) <= commands()

    def test_links_only_to_what_is_there(self, name: str) -> None:
        for path, anchor in A_LINK.findall(DOCUMENTS[name]):
            target = (ROOT / name).parent / path if path else ROOT / name
            assert target.exists(), path
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{path}#{anchor}"

    def test_names_only_places_in_the_source_that_there_are(self, name: str) -> None:
        for path, what in KEPT_IN.findall(DOCUMENTS[name]):
            source = (ROOT / "src/keawatch" / path).read_text(encoding="utf-8")
            assert re.search(rf"(?:def|class) {what}\b|^{what}: ", source, re.MULTILINE), f"{path}:{what}"

    def test_names_only_tests_that_there_are(self, name: str) -> None:
        for path in A_TEST.findall(DOCUMENTS[name]):
            assert (ROOT / path).exists(), path

    def test_asks_kea_only_for_commands_of_kea(self, name: str) -> None:
        known = {*Command, "status-get", "config-get", "ha-heartbeat", "ha-maintenance-cancel", "statistic-get"}
        assert set(re.findall(r'"command": "([^"]+)"', DOCUMENTS[name])) <= known

    def test_has_no_line_too_long_to_read_outside_tables_and_code(self, name: str) -> None:
        long = [line for line in DOCUMENTS[name].splitlines() if len(line) > 130 and not line.startswith(("|", "    "))]
        assert not long
