"""Writes findings as JSON and as SARIF 2.1.0, and the rules as a table in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keawatch.lint.model import Finding, Rule, Severity

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
KEYS = ("rule", "severity", "server", "path", "message", "why", "fix", "source")


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the document of `lint --json`."""
    return {"findings": [{key: _plain(getattr(finding, key)) for key in KEYS} for finding in findings]}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Severity) else value


def as_sarif(findings: Sequence[Finding], rules: Sequence[Rule], version: str) -> dict[str, Any]:
    """Return the document of `lint --sarif`."""
    driver = {
        "name": "keawatch",
        "version": version,
        "semanticVersion": version,
        "rules": [_rule(rule) for rule in rules],
    }
    order = {rule.id: index for index, rule in enumerate(rules)}
    results = [_result(finding, order[finding.rule]) for finding in findings]
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.finds},
        "fullDescription": {"text": rule.why},
        "help": {"text": f"{rule.why} Source: {rule.source}."},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    text = f"{finding.server}: {finding.message}"
    location: dict[str, Any] = {
        "logicalLocations": [{"name": finding.server, "fullyQualifiedName": finding.path, "kind": "member"}]
    }
    if finding.where:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": _uri(finding.where.file)},
            "region": {"startLine": finding.where.line, "startColumn": finding.where.column},
        }
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{text}. {finding.fix}" if finding.fix else text},
        "locations": [location],
    }


def _uri(file: str) -> str:
    from urllib.parse import quote  # noqa: PLC0415 - only here

    return f"file://{quote(file)}" if file.startswith("/") else quote(file)


def as_markdown(rules: Sequence[Rule]) -> str:
    """Return the table of rules in docs/lint.md."""
    lines = ["| Rule | Severity | Finds | Why | Source |", "|---|---|---|---|---|"]
    lines += [f"| `{rule.id}` | {rule.severity} | {rule.finds} | {rule.why} | {rule.source} |" for rule in rules]
    return "\n".join(lines) + "\n"


def written_into(document: str, rules: Sequence[Rule]) -> str:
    """Return a document in which the table of rules between the two marks is the present one."""
    before, _, rest = document.partition("<!-- rules -->\n")
    _, _, after = rest.partition("<!-- /rules -->")
    return f"{before}<!-- rules -->\n\n{as_markdown(rules)}\n<!-- /rules -->{after}"
