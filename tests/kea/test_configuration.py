"""What keawatch wants to know of a configuration is read, with the defaults of its version."""

from typing import Any, ClassVar

import pytest

from keawatch.core.model import HaConfig, Mode, Peer, Role
from keawatch.errors import KeaProtocolError
from keawatch.kea.configuration import read_config, read_version
from tests.kea import replies

MINIMAL = {
    "this-server-name": "a",
    "mode": "hot-standby",
    "peers": [
        {"name": "a", "url": "http://10.77.0.2:8765/", "role": "primary"},
        {"name": "b", "url": "http://10.77.0.3:8765/", "role": "standby", "auto-failover": False},
    ],
}


def with_ha(*relationships: dict[str, Any], **other: Any) -> dict[str, Any]:
    hook = {"library": "/usr/lib/kea/hooks/libdhcp_ha.so", "parameters": {"high-availability": list(relationships)}}
    return {"Dhcp4": {"hooks-libraries": [{"library": "/usr/lib/kea/hooks/libdhcp_lease_cmds.so"}, hook]} | other}


def read(arguments: Any, version: str | None) -> HaConfig:
    config, _ = read_config(arguments, version, server="a", partner="b")
    assert config is not None
    return config


class TestCaptured:
    @pytest.mark.parametrize("version", replies.VERSIONS)
    def test_ha_and_subnets(self, version: str) -> None:
        name = replies.whole(f"{version}-version-get-a")["text"]
        config, subnets = read_config(replies.arguments(f"{version}-config-get-a"), name, server="a", partner="b")
        assert subnets == {1: "10.77.0.0/16", 2: "192.0.2.0/24"}
        assert config is not None
        assert config.this_server == "a"
        assert config.mode is Mode.HOT_STANDBY
        assert config.peers == (
            Peer("a", Role.PRIMARY, "http://10.77.0.2:8765/"),
            Peer("b", Role.STANDBY, "http://10.77.0.3:8765/"),
        )
        assert (config.heartbeat_delay, config.max_response_delay, config.max_ack_delay) == (1.0, 4.0, 1.0)
        assert config.max_unacked_clients == 0
        assert config.max_rejected_lease_updates == (None if version == "2.2" else 10)
        assert config.restrict_commands is (version == "3.0")
        assert config.dedicated_listener


class TestDefaults:
    @pytest.mark.parametrize(
        ("version", "rejects", "dedicated", "restricted"),
        [
            ("2.2.0", None, False, False),
            ("2.4.2", 10, True, False),
            ("2.6.3", 10, True, False),
            ("3.0.4", 10, True, True),
            ("3.3.1-git", 10, True, True),
            (None, 10, True, True),
        ],
    )
    def test_of_a_version(self, version: str | None, rejects: int | None, dedicated: bool, restricted: bool) -> None:
        config = read(with_ha(MINIMAL), version)
        assert config == HaConfig(
            this_server="a",
            mode=Mode.HOT_STANDBY,
            peers=(
                Peer("a", Role.PRIMARY, "http://10.77.0.2:8765/"),
                Peer("b", Role.STANDBY, "http://10.77.0.3:8765/", auto_failover=False),
            ),
            max_rejected_lease_updates=rejects,
            dedicated_listener=dedicated,
            restrict_commands=restricted,
        )

    def test_zeroes_are_kept(self) -> None:
        zeroes = {"heartbeat-delay": 0, "max-unacked-clients": 0, "max-rejected-lease-updates": 0, "sync-page-limit": 0}
        config = read(with_ha(MINIMAL | zeroes), "2.6.3")
        assert (config.heartbeat_delay, config.max_unacked_clients) == (0.0, 0)
        assert (config.max_rejected_lease_updates, config.sync_page_limit) == (0, 0)

    @pytest.mark.parametrize("ha", [{"enable-multi-threading": False}, {"http-dedicated-listener": False}])
    def test_the_listener_can_be_switched_off(self, ha: dict[str, Any]) -> None:
        assert not read(with_ha(MINIMAL | {"multi-threading": ha}), "3.0.4").dedicated_listener

    def test_without_threads_there_is_no_listener(self) -> None:
        arguments = with_ha(MINIMAL, **{"multi-threading": {"enable-multi-threading": False}})
        assert not read(arguments, "3.0.4").dedicated_listener

    def test_pauses(self) -> None:
        states = [{"state": "ready", "pause": "always"}, {"state": "waiting", "pause": "never"}, {"state": "syncing"}]
        assert read(with_ha(MINIMAL | {"state-machine": {"states": states}}), "3.0.4").pauses == {"ready": "always"}


class TestClientIds:
    SUBNET: ClassVar[dict[str, Any]] = {"id": 1, "subnet": "10.77.0.0/16"}

    @pytest.mark.parametrize(
        ("part", "ignored"),
        [
            ({}, False),
            ({"match-client-id": True}, False),
            ({"match-client-id": False}, True),
            ({"subnet4": [SUBNET, {"match-client-id": False} | SUBNET]}, True),
            ({"shared-networks": [{"name": "x", "match-client-id": False}]}, True),
            ({"shared-networks": [{"name": "x", "subnet4": [{"match-client-id": False} | SUBNET]}]}, True),
            ({"shared-networks": [{"name": "x", "subnet4": [{"match-client-id": True} | SUBNET]}]}, False),
        ],
    )
    def test_are_ignored_where_one_part_says_so(self, part: dict[str, Any], ignored: bool) -> None:
        assert read(with_ha(MINIMAL, **part), "3.0.4").ignores_client_ids is ignored

    @pytest.mark.parametrize(
        ("library", "parameters", "replaced"),
        [
            ("/usr/lib/kea/hooks/libdhcp_flex_id.so", {"replace-client-id": True}, True),
            ("libdhcp_flex_id.so", {"replace-client-id": False}, False),
            ("libdhcp_flex_id.so", None, False),
            ("/usr/lib/kea/hooks/libdhcp_flex_option.so", {"replace-client-id": True}, False),
        ],
    )
    def test_are_replaced_by_a_hook_that_is_told_to(self, library: str, parameters: Any, replaced: bool) -> None:
        arguments = with_ha(MINIMAL)
        arguments["Dhcp4"]["hooks-libraries"].append({"library": library, "parameters": parameters})
        assert read(arguments, "3.0.4").replaces_client_ids is replaced

    @pytest.mark.parametrize("version", replies.VERSIONS)
    def test_are_kept_by_default(self, version: str) -> None:
        config = read(replies.arguments(f"{version}-config-get-a"), None)
        assert not config.ignores_client_ids
        assert not config.replaces_client_ids


class TestRelationships:
    def test_none(self) -> None:
        assert read_config({"Dhcp6": {}}, "3.0.4", server="a", partner="b") == (None, {})

    def test_of_several_the_one_between_both(self) -> None:
        other = MINIMAL | {"this-server-name": "hub", "peers": [{"name": "hub", "role": "primary"}]}
        assert read(with_ha(other, MINIMAL), "3.0.4").this_server == "a"

    def test_several_and_none_between_both(self) -> None:
        other = MINIMAL | {"peers": [{"name": "hub", "role": "primary"}]}
        with pytest.raises(KeaProtocolError, match="2 HA relationships and none between a and b"):
            read_config(with_ha(other, other), "3.0.4", server="a", partner="b")


class TestStrange:
    @pytest.mark.parametrize(
        "arguments",
        [
            None,
            [],
            {"Control-agent": {}},
            {"Dhcp4": []},
            {"Dhcp4": {"hooks-libraries": {}}},
            with_ha({}),
            with_ha(MINIMAL | {"mode": "x"}),
        ],
    )
    def test_is_a_protocol_error(self, arguments: Any) -> None:
        with pytest.raises(KeaProtocolError):
            read_config(arguments, "3.0.4", server="a", partner="b")

    def test_a_version_is_read_as_far_as_it_is_one(self) -> None:
        assert read_version("2.7.5-git") == (2, 7, 5)
        assert read_version("3.0") == (3, 0, 0)
        assert read_version("tarball") > (3, 9, 9)
