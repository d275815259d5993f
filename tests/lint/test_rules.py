"""Every rule finds what it is for, keeps quiet about its nearest neighbour, and says all that an operator needs."""

import json
from typing import Any

import pytest

from keawatch.lint import run
from keawatch.lint.model import Finding, Severity
from tests.lint.cases import PAIR, SINGLE, Case, good, of_one, of_two, subject

BROKEN: tuple[Any, ...] = (None, 1, "x", [], {}, [1], [{}], ["x", None], {"x": 1}, [[]], True, -1, 1.5)
ABOUT_READING = {"custom-empty-map", "kea-refuses", "syntax", "server-not-read"}
"""Rules about what is read, and not in it; test_reading.py and test_custom.py have those."""


def ids(findings: list[Finding]) -> set[str]:
    return {finding.rule for finding in findings}


def name(case: Case) -> str:
    return case.rule


@pytest.mark.parametrize("case", SINGLE, ids=name)
class TestARuleOverOne:
    def test_fires_and_says_where_and_what_to_write(self, case: Case) -> None:
        findings = of_one(case, case.fires)
        assert case.rule in ids(findings)
        for finding in findings:
            assert finding.path.startswith(("Dhcp4", "Control-agent"))
            assert finding.where is not None
            if finding.fix and " write {" in finding.fix:
                json.JSONDecoder().raw_decode(finding.fix.partition(" write ")[2])

    def test_keeps_quiet(self, case: Case) -> None:
        assert case.rule not in ids(of_one(case, case.quiet, case.quiet_version))


@pytest.mark.parametrize("case", PAIR, ids=name)
class TestARuleOverAPair:
    def test_fires(self, case: Case) -> None:
        assert case.rule in ids(of_two(case, case.fires, case.second_version))

    def test_keeps_quiet(self, case: Case) -> None:
        assert case.rule not in ids(of_two(case, case.quiet))


def test_every_rule_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert {case.rule for case in (*SINGLE, *PAIR)} | ABOUT_READING == {rule.id for rule in run.ALL_RULES}


def test_there_are_forty_rules_and_more_each_with_a_name_of_its_own() -> None:
    names = [rule.id for rule in run.ALL_RULES]
    assert len(names) == len(set(names)) >= 40


def test_a_rule_says_why_and_where_that_is_written() -> None:
    for rule in run.ALL_RULES:
        assert rule.why.endswith("."), rule.id
        assert len(rule.why) > 40, rule.id
        assert rule.source, rule.id
        assert rule.finds, rule.id


@pytest.mark.parametrize("family", [4, 6])
def test_nothing_is_found_in_a_good_configuration(family: int) -> None:
    config = good(family=family)
    assert run.lint([subject(config, "3.0.4")]) == []


def test_nothing_is_found_in_a_good_pair() -> None:
    assert run.lint([subject(good("a"), "3.0.4"), subject(good("b"), "3.0.4")]) == []


def test_the_gravest_come_first() -> None:
    case = next(case for case in SINGLE if case.rule == "ha-https-without-tls")
    order = [Severity.ERROR, Severity.WARNING, Severity.INFO]
    found = [order.index(finding.severity) for finding in of_one(case, case.fires)]
    assert found == sorted(found)


@pytest.mark.parametrize("key", sorted(good()["Dhcp4"]))
def test_nothing_of_another_kind_breaks_a_rule(key: str) -> None:
    for broken in BROKEN:
        config = good()
        config["Dhcp4"][key] = broken
        run.lint([subject(config, None), subject(good("b"), None)])


@pytest.mark.parametrize("key", sorted(good()["Dhcp4"]["hooks-libraries"][2]["parameters"]["high-availability"][0]))
def test_nothing_of_another_kind_in_ha_breaks_a_rule(key: str) -> None:
    for broken in (*BROKEN, [{"name": 1, "url": 2, "role": []}]):
        config = good()
        config["Dhcp4"]["hooks-libraries"][2]["parameters"]["high-availability"][0][key] = broken
        run.lint([subject(config, None), subject(good("b"), None)])
