"""Configurations made out of a running one."""

import copy
import json
from typing import Any

import pytest

from keawatch.errors import KeaProtocolError
from keawatch.kea.reconfigure import (
    ReconfigureError,
    aside,
    closed,
    estranged,
    is_aside,
    is_unfetchable,
    recorded,
    redacted,
    rejoining,
)
from tests.kea import replies
from tests.kea.test_configuration import MINIMAL, with_ha


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [found for key in keys for found in differences(one.get(key), other.get(key), f"{path}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for index, (left, right) in pairs for found in differences(left, right, f"{path}/{index}")]
    return [] if one == other else [f"{path}: {one} -> {other}"]


def ha_of(arguments: Any) -> dict[str, Any]:
    """Return a configuration's HA parameters."""
    parameters = (library.get("parameters") or {} for library in arguments["Dhcp4"]["hooks-libraries"])
    found: dict[str, Any] = next(one for one in parameters if "high-availability" in one)["high-availability"][0]
    return found


@pytest.mark.parametrize("version", replies.VERSIONS)
class TestCaptured:
    def test_recorded_is_what_config_set_takes(self, version: str) -> None:
        arguments = replies.arguments(f"{version}-config-get-a")
        made = recorded(arguments)
        assert list(made) == ["Dhcp4"]
        assert made["Dhcp4"] == arguments["Dhcp4"]
        assert made["Dhcp4"] is not arguments["Dhcp4"]

    @pytest.mark.parametrize(
        ("make", "changes"),
        [
            (aside, "/peers/0/url: http://10.77.0.2:8765/ -> http://127.0.0.1:8765/"),
            (estranged, "/peers/1/name: b -> b-set-aside-by-keawatch"),
        ],
    )
    def test_to_step_aside_changes_three_values_and_nothing_else(self, version: str, make: Any, changes: str) -> None:
        arguments = replies.arguments(f"{version}-config-get-a")
        before = copy.deepcopy(arguments)
        changed = differences(recorded(arguments), make(arguments, "a"))
        assert [line.rpartition("high-availability/0")[2] for line in changed] == [
            "/heartbeat-delay: 1000 -> 500",
            changes,
            f"/sync-leases: {True} -> {False}",
        ]
        assert arguments == before

    @pytest.mark.parametrize("delay", [200, 0, -1, "0", True, None])
    def test_whoever_is_aside_is_heard_soon_and_has_heartbeats_whatever_was_configured(
        self, version: str, delay: object
    ) -> None:
        arguments = replies.arguments(f"{version}-config-get-a")
        relationship = ha_of(arguments)
        relationship["heartbeat-delay"] = delay
        if delay is None:
            del relationship["heartbeat-delay"]
        assert ha_of(closed(arguments, "a"))["heartbeat-delay"] == (200 if delay == 200 else 500)

    def test_closed_lacks_the_lease_commands_beside_that_and_nothing_else(self, version: str) -> None:
        arguments = replies.arguments(f"{version}-config-get-a")
        before = copy.deepcopy(arguments)
        made, stranger = closed(arguments, "a"), estranged(arguments, "a")
        libraries = stranger["Dhcp4"]["hooks-libraries"]
        gone = [one for one in libraries if one not in made["Dhcp4"]["hooks-libraries"]]
        assert [one["library"].rpartition("/")[2] for one in gone] == ["libdhcp_lease_cmds.so"]
        assert made == {"Dhcp4": stranger["Dhcp4"] | {"hooks-libraries": [one for one in libraries if one not in gone]}}
        assert arguments == before

    def test_knows_what_is_aside_and_whose_leases_can_be_fetched(self, version: str) -> None:
        arguments = replies.arguments(f"{version}-config-get-a")
        made = {make.__name__: make(arguments, "a") for make in (estranged, closed, rejoining)}
        made |= {"aside": aside(arguments, "a", "3.0.4"), "as it was": arguments}
        assert [name for name, one in made.items() if is_aside(one, "a")] == ["estranged", "closed", "aside"]
        assert [name for name, one in made.items() if is_unfetchable(one, "a")] == ["closed", "aside"]

    def test_redacted_holds_no_password(self, version: str) -> None:
        text = json.dumps(redacted(replies.arguments(f"{version}-config-get-a")))
        assert "made-up" not in text
        assert '"basic-auth-user": "ha"' in text


class TestAside:
    @pytest.mark.parametrize(
        ("url", "moved"),
        [
            ("https://10.77.0.2:8765/", "https://127.0.0.1:8765/"),
            ("http://[fd77::2]:8765/", "http://[::1]:8765/"),
            ("http://10.77.0.2/", "http://127.0.0.1/"),
        ],
    )
    def test_keeps_scheme_port_and_family(self, url: str, moved: str) -> None:
        peers = [{"name": "a", "role": "primary", "url": url}]
        made = aside(with_ha(MINIMAL | {"peers": peers}), "a", "3.0.4")
        assert ha_of(made)["peers"][0]["url"] == moved

    def test_of_several_relationships_moves_only_its_own(self) -> None:
        other = copy.deepcopy(MINIMAL) | {"this-server-name": "hub"}
        made = aside(with_ha(other, MINIMAL), "a", "3.0.4")
        relationships = made["Dhcp4"]["hooks-libraries"][1]["parameters"]["high-availability"]
        assert relationships[0] == other
        assert relationships[1]["sync-leases"] is False

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            pytest.param({"Dhcp4": {}}, "has no HA hook", id="no hook"),
            pytest.param(with_ha(MINIMAL | {"this-server-name": "x"}), "none of the 1 HA relationships", id="name"),
            pytest.param(with_ha(MINIMAL, MINIMAL), "2 of the 2 HA relationships", id="twice"),
            pytest.param(with_ha(MINIMAL | {"peers": []}), "not among the peers", id="no peer"),
            pytest.param(
                with_ha(MINIMAL | {"multi-threading": {"http-dedicated-listener": False}}), "Control Agent", id="agent"
            ),
            pytest.param(
                with_ha(MINIMAL | {"peers": [{"name": "a", "url": "http://127.0.0.1:8765/"}]}), "already", id="loopback"
            ),
            pytest.param(
                with_ha(MINIMAL | {"peers": [{"name": "a", "url": "http://10.0.0.1:port/"}]}),
                "can't be read",
                id="port",
            ),
        ],
    )
    def test_says_why_it_is_impossible(self, arguments: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ReconfigureError) as error:
            aside(arguments, "a", "3.0.4")
        assert sentence in str(error.value)

    def test_2_2_has_no_listener_unless_it_says_so(self) -> None:
        with pytest.raises(ReconfigureError, match="Control Agent"):
            aside(with_ha(MINIMAL), "a", "2.2.0")

    def test_a_configuration_without_a_hash_is_taken_for_2_2(self) -> None:
        with pytest.raises(ReconfigureError, match="Control Agent"):
            aside(with_ha(MINIMAL), "a")
        assert aside(with_ha(MINIMAL) | {"hash": "F9"}, "a")

    @pytest.mark.parametrize("arguments", [None, {}, {"Dhcp4": {"hooks-libraries": [3]}}, {"hash": "x"}])
    def test_of_nonsense_is_a_kea_error(self, arguments: Any) -> None:
        with pytest.raises((KeaProtocolError, ReconfigureError)):
            aside(arguments, "a")


class TestEstranged:
    def test_leaves_a_backup_server_known(self) -> None:
        backup = {"name": "c", "url": "http://10.77.0.4:8765/", "role": "backup"}
        made = estranged(with_ha(MINIMAL | {"peers": [*MINIMAL["peers"], backup]}), "a")
        peers = ha_of(made)["peers"]
        assert [peer["name"] for peer in peers] == ["a", "b-set-aside-by-keawatch", "c"]

    def test_needs_no_listener_of_its_own(self) -> None:
        behind_an_agent = with_ha(MINIMAL | {"multi-threading": {"http-dedicated-listener": False}})
        assert is_aside(estranged(behind_an_agent, "a"), "a")

    def test_without_lease_commands_there_is_nothing_to_take_out(self) -> None:
        hook = with_ha(MINIMAL)["Dhcp4"]["hooks-libraries"][1]
        assert (
            closed({"Dhcp4": {"hooks-libraries": [hook]}}, "a")["Dhcp4"]["hooks-libraries"][0]["library"]
            == hook["library"]
        )

    @pytest.mark.parametrize("make", [estranged, closed])
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"Dhcp4": {}}, "has no HA hook"),
            (with_ha(MINIMAL | {"this-server-name": "x"}), "none of the 1 HA relationships"),
            (with_ha(MINIMAL | {"peers": []}), "not among the peers"),
        ],
    )
    def test_says_why_it_is_impossible(self, make: Any, arguments: dict[str, Any], sentence: str) -> None:
        with pytest.raises(ReconfigureError, match=sentence):
            make(arguments, "a")


class TestRedacted:
    def test_replaces_passwords_wherever_they_are(self) -> None:
        secret = {"hosts-databases": [{"password": "p", "user": "u"}], "x": {"db-password": "p", "secret": ["p"]}}
        assert redacted(secret) == {
            "hosts-databases": [{"password": "***", "user": "u"}],
            "x": {"db-password": "***", "secret": "***"},
        }

    def test_leaves_names_of_password_files(self) -> None:
        assert redacted({"basic-auth-password-file": "/etc/kea/ha"}) == {"basic-auth-password-file": "/etc/kea/ha"}
