"""What is printed: the document that programs get, SARIF, no secret, and the table in the manual."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from keawatch.cli.commands import app
from keawatch.cli.exits import UsageError
from keawatch.errors import LintError
from keawatch.lint.host import read_ifconfig, read_ip
from keawatch.lint.output import written_into
from keawatch.lint.run import ALL_RULES
from tests.lint.cases import good, ha
from tests.lint.document import DOCUMENT

FILES = Path(__file__).parent / "files"
KEYS = {"rule", "severity", "server", "path", "message", "why", "fix", "source"}
runner = CliRunner()


def lint(*arguments: str | Path) -> tuple[int, str]:
    result = runner.invoke(app, ["lint", *map(str, arguments)], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


@pytest.fixture
def well(tmp_path: Path) -> Path:
    path = tmp_path / "a.conf"
    path.write_text(json.dumps(good()))
    return path


def test_a_good_file_ends_with_0(well: Path) -> None:
    assert lint(well, "--kea-version", "3.0.4") == (0, "Nothing found.\n")


def test_an_info_alone_ends_with_0_and_a_warning_with_1(well: Path) -> None:
    config = good()
    config["Dhcp4"]["ip-reservations-unique"] = False
    well.write_text(json.dumps(config))
    assert lint(well, "--kea-version", "3.0.4")[0] == 0
    config["Dhcp4"]["lease-database"]["lfc-interval"] = 0
    well.write_text(json.dumps(config))
    assert lint(well, "--kea-version", "3.0.4")[0] == 1


def test_the_document_of_json_has_just_its_keys() -> None:
    status, text = lint(FILES / "pfsense-a.conf", FILES / "pfsense-b.conf", "--json", "--kea-version", "2.6.3")
    document = json.loads(text)
    assert status == 1
    assert list(document) == ["findings"]
    assert all(set(finding) == KEYS for finding in document["findings"])
    assert {finding["server"] for finding in document["findings"]} == {"fw1", "fw2"}


def test_a_file_that_does_not_parse_is_a_finding_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "broken.conf"
    path.write_text('{"Dhcp4": {\n  "a": 1\n  "b": 2}}')
    status, text = lint(path, "--json")
    (finding,) = json.loads(text)["findings"]
    assert status == 1
    assert finding["rule"] == "syntax"
    assert finding["message"].startswith(f"{path}:3:3: ")


def test_sarif_names_rules_levels_and_lines() -> None:
    status, text = lint(FILES / "pfsense-a.conf", "--sarif", "--kea-version", "2.6.3")
    document = json.loads(text)
    (one,) = document["runs"]
    rules = [rule["id"] for rule in one["tool"]["driver"]["rules"]]
    assert (status, document["version"]) == (1, "2.1.0")
    assert len(rules) == len(ALL_RULES)
    for result in one["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in {"error", "warning", "note"}
        assert result["locations"][0]["physicalLocation"]["region"]["startLine"] > 0
    places = {
        result["ruleId"]: result["locations"][0]["physicalLocation"]["region"]["startLine"] for result in one["results"]
    }
    assert places["ip-reservations-unique"] == 20


def test_no_secret_is_printed(well: Path) -> None:
    config = good()
    config["Dhcp4"]["lease-database"] = {"type": "mysql", "name": "kea", "user": "kea", "password": "hunter22"}
    for one in ha(config)["peers"]:
        one.update({"basic-auth-user": "u", "basic-auth-password": "hunter23", "url": "https://me:hunter24@kea:1/"})
    ha(config)["this-server-name"] = "hunter22"
    well.write_text(json.dumps(config))
    for form in ((), ("--json",), ("--sarif",)):
        text = lint(well, *form)[1]
        assert "hunter" not in text
        assert len(text) > 100


def test_wrong_usage_is_said(well: Path) -> None:
    for arguments in ((well, well, well), (well, "--kea-version", "new"), ("--custom", well)):
        with pytest.raises(Exception, match=r"name one|no version|about files"):
            lint(*arguments)


def test_two_families_are_no_pair(well: Path, tmp_path: Path) -> None:
    other = tmp_path / "b.conf"
    other.write_text(json.dumps(good("b", 6)))
    with pytest.raises(UsageError, match="one family"):
        lint(well, other)


def test_rules_are_listed() -> None:
    assert len(json.loads(lint("--rules", "--json")[1])["rules"]) == len(ALL_RULES)
    assert "ha-wait-backup-ack" in lint("--rules")[1]


def test_the_manual_s_table_is_the_present_one() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == written_into(text, ALL_RULES), "python -m tests.lint.document writes it"


def test_a_config_get_s_reply_is_read_as_well(well: Path) -> None:
    well.write_text(json.dumps({"result": 0, "arguments": {**good(), "hash": "x"}}))
    assert lint(well, "--kea-version", "3.0.4")[0] == 0


def test_another_file_of_kea_s_is_said_to_be_none(well: Path) -> None:
    well.write_text('{"Control-agent": {}}')
    with pytest.raises(LintError, match="no configuration of a DHCP server"):
        lint(well)


def test_addresses_of_interfaces_are_read_on_linux_and_freebsd() -> None:
    linux = "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 10.0.0.2/24 brd 10.0.0.255 scope global eth0\n2: eth0    inet 10.0.0.1/24 scope global secondary eth0\n"
    assert read_ip(linux) == {"lo": ("127.0.0.1",), "eth0": ("10.0.0.2", "10.0.0.1")}
    freebsd = (
        "igc1: flags=1008943<UP,BROADCAST> metric 0 mtu 1500\n\tether 00:00:5e:00:53:01\n"
        "\tinet 10.200.0.2 netmask 0xffff0000 broadcast 10.200.255.255\n"
        "\tinet 10.200.0.1 netmask 0xffff0000 broadcast 10.200.255.255 vhid 1\n"
    )
    assert read_ifconfig(freebsd) == {"igc1": ("10.200.0.2", "10.200.0.1")}


def test_a_snippet_for_pfsense_is_merged_before_it_is_judged(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.json"
    file = FILES / "pfsense-a.conf"

    def rules(text: str) -> set[str]:
        snippet.write_text(text)
        document = json.loads(lint(file, "--custom", snippet, "--json", "--kea-version", "2.6.3")[1])
        return {finding["rule"] for finding in document["findings"]}

    assert {"ip-reservations-unique", "ha-listener-threads"} <= rules("{}")
    assert not {"ip-reservations-unique", "ha-listener-threads"} & rules(
        '{"ip-reservations-unique": true, "multi-threading": {"thread-pool-size": 1}}'
    )
    assert "ha-hook-twice" in rules('{"hooks-libraries": [{"library": "/usr/local/lib/kea/hooks/libdhcp_ha.so"}]}')
    assert rules('{"multi-threading": {} // a comment\n}') == {"syntax"}
