"""pfSense's and OPNsense's files are known, judged rightly, and each remedy says what of it their fields can set."""

import json
from pathlib import Path
from typing import Any

import pytest

from keawatch.core.model import version_of
from keawatch.errors import LintError
from keawatch.lint import run
from keawatch.lint.dialect import parse, read
from keawatch.lint.merge import merged
from keawatch.lint.model import Finding, Maker, Severity, Subject
from tests.lint.cases import good

FILES = Path(__file__).parent / "files"


def file(name: str, version: str = "2.6.3", changed: dict[str, Any] | None = None) -> Subject:
    document = read(FILES / name)
    document.value["Dhcp4"].update(changed or {})
    return run.subject_of(document, name, run.Told(version=version_of(version)))


def by_rule(found: list[Finding]) -> dict[str, Finding]:
    return {finding.rule: finding for finding in found}


@pytest.mark.parametrize(
    ("name", "maker"),
    [("pfsense-a.conf", Maker.PFSENSE), ("opnsense-a.conf", Maker.OPNSENSE), ("commented.conf", Maker.HAND)],
)
def test_the_writer_is_known_by_the_shape(name: str, maker: Maker) -> None:
    assert file(name).maker is maker


def test_a_file_written_by_hand_gets_no_advice_about_a_gui() -> None:
    config = good()
    config["Dhcp4"]["lease-database"]["lfc-interval"] = 0
    (found,) = run.lint([run.subject_of(parse(json.dumps(config), "x"), "x")])
    assert found.fix == 'At Dhcp4 write {"lease-database": {"lfc-interval": 3600}}.'


@pytest.mark.parametrize("maker", ["pfsense", "opnsense"])
def test_a_generated_pair_has_no_error_and_nothing_that_differs(maker: str) -> None:
    found = run.lint([file(f"{maker}-a.conf"), file(f"{maker}-b.conf")])
    assert not [finding for finding in found if finding.severity is Severity.ERROR or finding.rule.startswith("pair-")]


def test_pfsense_sets_numbers_of_ha_in_its_gui_and_the_rest_of_ha_nowhere() -> None:
    found = by_rule(run.lint([file("pfsense-a.conf")]))
    assert "High Availability: Max Unacked Clients" in (found["ha-unacked-off"].fix or "")
    assert "no field of its GUI sets this" in (found["ha-listener-threads"].fix or "")
    assert '{"multi-threading": {"thread-pool-size": 1}}' in (found["ha-listener-threads"].fix or "")


def test_pfsense_sets_the_top_of_the_file_in_its_json_field_with_the_snippet_printed() -> None:
    found = by_rule(run.lint([file("pfsense-a.conf")]))["ip-reservations-unique"]
    assert 'JSON Configuration, write {"ip-reservations-unique": true}' in (found.fix or "")
    assert "makes no duplicate leases" in found.why


def test_opnsense_sets_little_and_the_rest_by_manual_config() -> None:
    found = by_rule(run.lint([file("opnsense-a.conf")]))
    assert "Manual config" in (found["ha-listener-open"].fix or "")
    assert "ha-listener-open" not in by_rule(run.lint([file("opnsense-a.conf", "3.0.4")]))


class TestPfsenseSMerge:
    def test_maps_are_merged_and_scalars_replaced(self) -> None:
        assert merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4}) == {"a": {"b": 3, "c": 2}, "d": 4}

    def test_lists_of_maps_grow_and_lists_of_words_are_replaced_one_by_one(self) -> None:
        assert merged({"a": [{"x": 1}]}, {"a": [{"x": 2}]}) == {"a": [{"x": 1}, {"x": 2}]}
        assert merged({"a": ["x", "y", "z"]}, {"a": ["q"]}) == {"a": ["q", "y", "z"]}

    def test_an_empty_map_becomes_a_list_where_there_was_nothing(self) -> None:
        assert merged({}, {"multi-threading": {}}) == {"multi-threading": []}
        assert merged({"a": {"b": 1}}, {"a": {}}) == {"a": {"b": 1}}

    def test_a_whole_fraction_becomes_a_whole_number(self) -> None:
        assert json.dumps(merged({}, {"a": 1.0, "b": 0.25})) == '{"a": 1, "b": 0.25}'


class TestASnippet:
    def test_that_adds_ha_a_second_time_is_caught(self) -> None:
        entry = {
            "library": "/usr/local/lib/kea/hooks/libdhcp_ha.so",
            "parameters": {"high-availability": [{"sync-timeout": 9}]},
        }
        subject, _ = run.with_custom(file("pfsense-a.conf"), {"hooks-libraries": [entry]}, "s.json")
        assert "ha-hook-twice" in by_rule(run.lint([subject]))

    def test_with_an_empty_map_is_caught(self) -> None:
        _, found = run.with_custom(file("pfsense-a.conf"), {"multi-threading": {}}, "s.json")
        assert [finding.rule for finding in found] == ["custom-empty-map"]
        assert run.with_custom(file("pfsense-a.conf"), {"sanity-checks": {}}, "s.json")[1] == []

    def test_that_sets_one_thread_takes_the_finding_away(self) -> None:
        snippet = {"multi-threading": {"thread-pool-size": 1}}
        subject, found = run.with_custom(file("pfsense-a.conf"), snippet, "s.json")
        assert found == []
        assert "ha-listener-threads" not in by_rule(run.lint([subject]))

    @pytest.mark.parametrize("snippet", [[], {"Dhcp4": {}}, "x"])
    def test_of_another_shape_is_refused(self, snippet: Any) -> None:
        with pytest.raises(LintError):
            run.with_custom(file("pfsense-a.conf"), snippet, "s.json")


def test_pfsense_s_lease_time_is_set_where_it_is_configured() -> None:
    fix = by_rule(run.lint([file("pfsense-a.conf")]))["ha-rejects-add-up"].fix or ""
    assert fix.startswith('At Dhcp4.subnet4[0] write {"valid-lifetime": 7200}')
    assert "set Default Lease Time on the page of the interface to 7200" in fix
