"""Kea's kind of JSON is read as Kea reads it; each text here was shown to Kea 2.2.0, 2.6.3 and 3.0.4 with -t, which agreed."""

from pathlib import Path

import pytest

from keawatch.errors import DialectError, LintError
from keawatch.lint.dialect import parse, read

FILES = Path(__file__).parent / "files"

TAKEN = {
    "a comma after the last": '{"Dhcp4":{"valid-lifetime":4000,}}',
    "a comma after the last of a list": '{"Dhcp4":{"interfaces-config":{"interfaces":["lo",]}}}',
    "two commas": '{"Dhcp4":{"valid-lifetime":4000,,"renew-timer":3}}',
    "a hash": '# c\n{"Dhcp4":{"valid-lifetime":4000 # x\n}}',
    "slashes": '// c\n{"Dhcp4":{"valid-lifetime":4000 // x\n}}',
    "a block": '/* a \n b */{"Dhcp4":{"valid-lifetime":4000}}',
    "a hash in a text": '{"Dhcp4":{"server-hostname":"a#b//c/*d*/"}}',
    "a number with leading zeros": '{"Dhcp4":{"valid-lifetime":04000}}',
    "an exponent": '{"Dhcp4":{"cache-threshold":1e-1}}',
    "a bare fraction": '{"Dhcp4":{"cache-threshold":.5}}',
    "lines of another system": '{"Dhcp4":{\r\n"valid-lifetime":4000}}\r\n',
    "an escape": '{"Dhcp4":{"server-hostname":"a\\u0041"}}',
}

REFUSED = {
    "a leading comma": ('{"Dhcp4":{,"valid-lifetime":4000}}', 1, 11),
    "an open comment": ('{"Dhcp4":{}} \n /* x', 2, 2),
    "a key twice": ('{"Dhcp4":{"valid-lifetime":1,\n "valid-lifetime":2}}', 2, 2),
    "nothing": ("", 1, 1),
    "a tab in a text": ('{"Dhcp4":{"server-hostname":"a\tb"}}', 1, 29),
    "a text over two lines": ('{"Dhcp4":{"server-hostname":"a\n"}}', 1, 29),
    "single quotes": ("{'Dhcp4':{}}", 1, 2),
    "a capital word": ('{"Dhcp4":{"authoritative":TRUE}}', 1, 27),
    "an unquoted word": ('{"Dhcp4":{"authoritative":yes}}', 1, 27),
    "a byte order mark": ('\ufeff{"Dhcp4":{}}', 1, 1),
    "two maps": ('{"Dhcp4":{}}\n{}', 2, 1),
    "a strange escape": ('{"Dhcp4":{"server-hostname":"a\\x"}}', 1, 29),
    "an escape above ff": ('{"Dhcp4":{"server-hostname":"a\\u0141"}}', 1, 29),
    "no colon": ('{"Dhcp4" {}}', 1, 10),
    "no end": ('{"Dhcp4": {\n', 2, 1),
    "no comma": ('{"Dhcp4":{"a":1\n  "b":2}}', 2, 3),
    "an include that is not there": ('{"Dhcp4":{<?include "/nowhere/x.json"?>}}', 1, 11),
    "a broken include": ('{"Dhcp4":{<?include x?>}}', 1, 11),
    "a list at the top": ("[]", 1, 1),
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_what_kea_takes_is_read(text: str) -> None:
    assert "Dhcp4" in parse(text, "x.conf").value


@pytest.mark.parametrize(("text", "line", "column"), REFUSED.values(), ids=REFUSED)
def test_what_kea_refuses_is_said_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(DialectError) as caught:
        parse(text, "x.conf")
    assert str(caught.value).startswith(f"x.conf:{line}:{column}: ")
    assert len(caught.value.sentence) > 15


def test_comments_and_includes_are_read_and_places_are_those_of_the_files() -> None:
    document = read(FILES / "commented.conf")
    assert document.value["Dhcp4"]["interfaces-config"] == {"interfaces": ["eth0"]}
    assert document.value["Dhcp4"]["subnet4"] == [{"id": 1, "subnet": "10.0.0.0/8"}]
    assert document.places["Dhcp4.interfaces-config"].file == "included.json"
    lifetime = document.places["Dhcp4.valid-lifetime"]
    assert (Path(lifetime.file).name, lifetime.line, lifetime.column) == ("commented.conf", 7, 23)


def test_files_that_include_each_other_end() -> None:
    with pytest.raises(DialectError, match="deep"):
        parse('{"Dhcp4":{<?include "x"?>', "x.conf", lambda _name, _root: '<?include "x"?>')


@pytest.mark.parametrize("text", ['{"a":' * 5000, "[" * 100000, '{"a":[' * 200, '{"a":' + "9" * 5000 + "}"])
def test_what_is_too_much_is_said_in_a_sentence(text: str) -> None:
    with pytest.raises(LintError):
        parse(text, "x.conf")


def test_a_file_that_is_not_there_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LintError, match=r"nothing\.conf can't be read \(No such file or directory\)"):
        read(tmp_path / "nothing.conf")


def test_a_secret_beside_a_mistake_is_not_quoted() -> None:
    with pytest.raises(DialectError) as caught:
        parse('{"password": "hunter22" "x"}', "x.conf")
    assert "hunter22" not in str(caught.value)
