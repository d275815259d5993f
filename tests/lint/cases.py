"""Configurations that each rule must find, and their nearest neighbours in which it must not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keawatch.core.model import version_of
from keawatch.lint import run
from keawatch.lint.dialect import parse
from keawatch.lint.model import Finding, Subject

Json = dict[str, Any]
Change = Callable[[Json], object]

HOOKS = "/usr/lib/kea/hooks"
FILES = {"trust-anchor": "/etc/kea/ca.pem", "cert-file": "/etc/kea/cert.pem", "key-file": "/etc/kea/key.pem"}


def good(name: str = "a", family: int = 4) -> Json:
    """Return the configuration of a server in which there is nothing to find."""
    prefix, pool = ("10.0.0.0/8", "10.128.0.0 - 10.191.255.255") if family == 4 else ("fd77::/32", "fd77:0:1::/64")
    return {
        f"Dhcp{family}": {
            "interfaces-config": {"interfaces": ["eth0"], "service-sockets-max-retries": 5},
            "lease-database": {"type": "memfile", "persist": True, "lfc-interval": 3600},
            "valid-lifetime": 7200,
            "control-sockets": [{"socket-type": "unix", "socket-name": "/run/kea/kea4-ctrl-socket"}],
            f"subnet{family}": [{"id": 1, "subnet": prefix, "pools": [{"pool": pool}]}],
            "hooks-libraries": [
                {"library": f"{HOOKS}/libdhcp_lease_cmds.so"},
                {"library": f"{HOOKS}/libdhcp_stat_cmds.so"},
                {"library": f"{HOOKS}/libdhcp_ha.so", "parameters": {"high-availability": [relationship(name)]}},
            ],
            "loggers": [{"name": f"kea-dhcp{family}", "severity": "INFO", "output-options": [{"output": "syslog"}]}],
        }
    }


def relationship(name: str = "a", peers: tuple[str, str] = ("a", "b"), first: int = 2) -> Json:
    """Return an HA relationship in which there is nothing to find."""
    return {
        "this-server-name": name,
        "mode": "hot-standby",
        "heartbeat-delay": 10000,
        "max-response-delay": 60000,
        "restrict-commands": True,
        **FILES,
        "peers": [
            {"name": peer, "url": f"https://10.77.0.{first + index}:8765/", "role": role}
            for index, (peer, role) in enumerate(zip(peers, ("primary", "standby"), strict=True))
        ],
    }


def dhcp(config: Json) -> Json:
    """Return what stands below Dhcp4 or Dhcp6."""
    found: Json = config[next(iter(config))]
    return found


def ha_hook(config: Json) -> Json:
    """Return the HA hook of a configuration."""
    return next(one for one in dhcp(config)["hooks-libraries"] if one["library"].endswith("ha.so"))


def ha(config: Json, index: int = 0) -> Json:
    """Return an HA relationship of a configuration."""
    found: Json = ha_hook(config)["parameters"]["high-availability"][index]
    return found


def subnet(config: Json) -> Json:
    """Return the first subnet."""
    body = dhcp(config)
    found: Json = body["subnet4" if "subnet4" in body else "subnet6"][0]
    return found


def top(**settings: Any) -> Change:
    """Return a change of what stands at the top."""
    return lambda config: dhcp(config).update(named(settings))


def in_ha(**settings: Any) -> Change:
    """Return a change of the HA parameters; None takes one away."""

    def change(config: Json) -> None:
        for key, value in named(settings).items():
            ha(config).update({key: value}) if value is not None else ha(config).pop(key, None)

    return change


def peer(index: int, **settings: Any) -> Change:
    """Return a change of a peer."""
    return lambda config: ha(config)["peers"][index].update(named(settings))


def in_subnet(**settings: Any) -> Change:
    """Return a change of the first subnet."""
    return lambda config: subnet(config).update(named(settings))


def add_subnet(**settings: Any) -> Change:
    """Return a change that adds a DHCPv4 subnet."""
    return lambda config: dhcp(config)["subnet4"].append(named(settings))


def named(settings: Json) -> Json:
    """Return settings with Kea's names."""
    return {key.replace("_", "-"): value for key, value in settings.items()}


def both(*changes: Change) -> Change:
    """Return several changes as one."""

    def change(config: Json) -> None:
        for one in changes:
            one(config)

    return change


def nothing(_config: Json) -> None:
    """Change nothing."""


def hook(name: str, *, there: bool) -> Change:
    """Return a change that adds or takes away a hook."""

    def change(config: Json) -> None:
        hooks = dhcp(config)["hooks-libraries"]
        hooks[:] = [one for one in hooks if not one["library"].endswith(f"_{name}.so")]
        if there:
            hooks.append({"library": f"{HOOKS}/libdhcp_{name}.so"})

    return change


def load_balancing(*, split: bool) -> Change:
    """Return a change into load-balancing."""

    def change(config: Json) -> None:
        ha(config)["mode"] = "load-balancing"
        ha(config)["peers"][1]["role"] = "secondary"
        pools = [{"pool": "10.1.0.0/16"}, {"pool": "10.2.0.0/16"}]
        if split:
            pools = [{**pool, "client-class": f"HA_{name}"} for pool, name in zip(pools, "ab", strict=True)]
        subnet(config)["pools"] = pools

    return change


def hub(config: Json) -> None:
    """Make a hub of two branches."""
    ha_hook(config)["parameters"]["high-availability"].append(relationship("d", ("c", "d"), 4))
    subnet(config)["user-context"] = {"ha-server-name": "a"}
    dhcp(config)["subnet4"].append(
        {
            "id": 2,
            "subnet": "172.16.0.0/16",
            "pools": [{"pool": "172.16.8.0/21"}],
            "user-context": {"ha-server-name": "c"},
        }
    )


def host(address: str, mac: str) -> Json:
    """Return a reservation."""
    return {"ip-address": address, "hw-address": f"00:00:00:00:00:{mac}"}


@dataclass(frozen=True)
class Case:
    """One rule: what it must find, and what it must not."""

    rule: str
    fires: Change
    quiet: Change = nothing
    version: str = "3.0.4"
    family: int = 4
    addresses: tuple[str, ...] = ()
    on_second: bool = False
    """For a rule over two: the change is made to the second configuration."""
    second_version: str | None = None
    base: Change = nothing
    """What is done to both configurations before."""
    quiet_version: str | None = None


def _ready(pause: str) -> Json:
    return {"states": [{"state": "ready", "pause": pause}]}


def _add(key: str, *items: Json) -> Change:
    return lambda config: dhcp(config).setdefault(key, []).extend(copy.deepcopy(items))


def _second_ha(config: Json) -> None:
    hooks = dhcp(config)["hooks-libraries"]
    hooks.append(copy.deepcopy(hooks[-1]))


def _relationships(value: Any) -> Change:
    return lambda config: dhcp(config)["hooks-libraries"][-1]["parameters"].update({"high-availability": value})


def _one_peer_less(config: Json) -> None:
    ha(config)["peers"].pop(0)


def _unguarded(config: Json) -> None:
    for key in (*FILES, "restrict-commands"):
        ha(config).pop(key, None)
    for one in ha(config)["peers"]:
        one["url"] = one["url"].replace("https", "http")


SINGLE: tuple[Case, ...] = (
    Case("ha-wait-backup-ack", in_ha(wait_backup_ack=True), in_ha(wait_backup_ack=False)),
    Case("ha-delay-too-long", in_ha(max_ack_delay=65536), in_ha(max_ack_delay=65535)),
    Case("ha-delay-too-long", in_ha(max_response_delay=90000), in_ha(max_response_delay=90000), quiet_version="3.3.0"),
    Case("ha-delayed-updates-limit", in_ha(delayed_updates_limit=1), in_ha(delayed_updates_limit=0)),
    Case(
        "ha-delayed-updates-limit",
        in_ha(delayed_updates_limit=50),
        both(load_balancing(split=True), in_ha(delayed_updates_limit=50)),
    ),
    Case("ha-this-server-unknown", in_ha(this_server_name="z"), in_ha(this_server_name=" a ")),
    Case("ha-this-server-unknown", in_ha(this_server_name=" "), in_ha(this_server_name="b")),
    Case("ha-peer-name-twice", peer(1, name="a"), peer(1, name="A")),
    Case("ha-url-no-address", peer(1, url="https://kea-b.example:8765/"), peer(1, url="https://[fd77::2]:8765/")),
    Case("ha-url-no-address", peer(1, url="10.77.0.3:8765"), peer(1, url="https://10.77.0.3:8765")),
    Case(
        "ha-roles",
        peer(1, role="primary"),
        lambda c: ha(c)["peers"].append({**ha(c)["peers"][1], "name": "c", "role": "backup"}),
    ),
    Case("ha-roles", in_ha(mode="load-balancing"), load_balancing(split=True)),
    Case("ha-roles", lambda c: ha(c)["peers"].pop(1)),
    Case("ha-roles", peer(1, role="master")),
    Case("ha-mode", in_ha(mode="hot"), load_balancing(split=True)),
    Case(
        "ha-tls-incomplete",
        in_ha(key_file=None),
        both(in_ha(key_file=None), peer(0, key_file="/k"), peer(1, key_file="/k")),
    ),
    Case("ha-https-without-tls", in_ha(trust_anchor=None, cert_file=None, key_file=None), nothing),
    Case("ha-wrong-kind", in_ha(heartbeat_delay="10000"), in_ha(heartbeat_delay=10000)),
    Case("ha-wrong-kind", in_ha(sync_timeout=-1), in_ha(sync_timeout=20000)),
    Case("ha-wrong-kind", in_ha(restrict_commands=1), in_ha(restrict_commands=True)),
    Case("ha-wrong-kind", in_ha(mode=None), nothing),
    Case(
        "ha-state-machine", in_ha(state_machine={"states": [{"state": "redy"}]}), in_ha(state_machine=_ready("never"))
    ),
    Case("ha-state-machine", in_ha(state_machine=_ready("ever")), in_ha(state_machine=_ready("always"))),
    Case("ha-state-machine", in_ha(state_machine={"states": [{"state": "ready"}, {"state": "ready"}]})),
    Case(
        "ha-two-passwords",
        peer(1, basic_auth_user="u", basic_auth_password="p", basic_auth_password_file="/p"),
        peer(1, basic_auth_user="u", basic_auth_password="p"),
    ),
    Case("ha-parameters-missing", _relationships([])),
    Case("ha-parameters-missing", _relationships(relationship())),
    Case("ha-parameters-missing", lambda c: dhcp(c)["hooks-libraries"][-1].pop("parameters"), hook("ha", there=False)),
    Case("ha-hook-twice", _second_ha),
    Case("ha-relationships", both(hub, lambda c: ha(c, 1).update({"mode": "load-balancing"})), hub),
    Case("ha-relationships", hub, version="2.4.0", quiet=nothing),
    Case("ha-relationships", _relationships([relationship(), relationship()]), hub),
    Case("ha-unknown-parameter", in_ha(heartbeat_delai=10000), in_ha(heartbeat_delay=10000)),
    Case("ha-unknown-parameter", in_ha(max_rejected_lease_updates=10), nothing, version="2.2.0"),
    Case(
        "lease-cmds-missing",
        hook("lease_cmds", there=False),
        both(hook("lease_cmds", there=False), hook("ha", there=False)),
    ),
    Case(
        "stat-cmds-missing",
        hook("stat_cmds", there=False),
        both(hook("stat_cmds", there=False), hook("ha", there=False)),
    ),
    Case("ha-same-url", peer(1, url="https://10.77.0.2:8765"), peer(1, url="https://10.77.0.2:8766/")),
    Case("ha-url-loopback", peer(0, url="https://127.0.0.1:8765/"), nothing),
    Case("ha-url-loopback", peer(0, url="https://0.0.0.0:8765/"), nothing),
    Case(
        "ha-control-socket-port",
        _add("control-sockets", {"socket-type": "http", "socket-address": "10.77.0.2", "socket-port": 8765}),
        _add("control-sockets", {"socket-type": "http", "socket-address": "10.77.0.2", "socket-port": 8000}),
    ),
    Case("ha-heartbeat-off", in_ha(heartbeat_delay=0), in_ha(heartbeat_delay=1)),
    Case("ha-auto-failover", peer(0, auto_failover=False), peer(1, auto_failover=False)),
    Case(
        "ha-pause-on-primary",
        in_ha(state_machine=_ready("always")),
        in_ha(state_machine=_ready("always"), this_server_name="b"),
    ),
    Case(
        "ha-pause-elsewhere",
        in_ha(state_machine={"states": [{"state": "waiting", "pause": "always"}]}),
        in_ha(state_machine={"states": [{"state": "waiting", "pause": "never"}]}),
    ),
    Case("ha-pause-once", in_ha(state_machine=_ready("once")), in_ha(state_machine=_ready("always"))),
    Case("ha-listener-open", both(_unguarded, in_ha(restrict_commands=False)), in_ha(restrict_commands=False)),
    Case("ha-listener-open", _unguarded, both(_unguarded, in_ha(restrict_commands=True)), version="2.6.3"),
    Case("ha-no-client-certs", in_ha(require_client_certs=False), in_ha(require_client_certs=True)),
    Case(
        "ha-basic-auth",
        peer(1, basic_auth_user="u", basic_auth_password="pass"),
        both(peer(1, basic_auth_user="u"), in_ha(multi_threading={"enable-multi-threading": False})),
    ),
    Case("ha-updates-off", in_ha(sync_leases=False), in_ha(sync_leases=True)),
    Case(
        "ha-updates-off",
        in_ha(send_lease_updates=False, sync_leases=False),
        both(in_ha(send_lease_updates=False, sync_leases=False), top(lease_database={"type": "mysql", "name": "kea"})),
    ),
    Case(
        "ha-no-listener",
        top(multi_threading={"enable-multi-threading": False}),
        top(multi_threading={"thread-pool-size": 1}),
    ),
    Case(
        "ha-no-listener",
        in_ha(multi_threading={"http-dedicated-listener": False}),
        in_ha(multi_threading={"http-dedicated-listener": True}),
    ),
    Case("ha-passive-backup", both(in_ha(mode="passive-backup"), peer(1, role="backup"))),
    Case("ha-pools-not-split", load_balancing(split=False), load_balancing(split=True)),
    Case("ha-class-of-nobody", in_subnet(client_class="HA_server1"), in_subnet(client_class="HA_b")),
    Case(
        "ha-class-of-nobody",
        in_subnet(client_classes=["HA_server1"]),
        both(in_subnet(client_class="HA_x"), top(client_classes=[{"name": "HA_x"}])),
    ),
    Case("ha-subnet-of-no-relationship", both(hub, in_subnet(user_context={})), hub),
    Case(
        "ha-rejects-add-up",
        top(valid_lifetime=86400),
        both(top(valid_lifetime=86400), in_ha(max_rejected_lease_updates=50)),
    ),
    Case("ha-rejects-add-up", in_subnet(valid_lifetime=86400), both(top(valid_lifetime=86400, renew_timer=900))),
    Case("ha-rejects-never", in_ha(max_rejected_lease_updates=0), in_ha(max_rejected_lease_updates=50)),
    Case("ha-rejects-high", in_ha(max_rejected_lease_updates=100), in_ha(max_rejected_lease_updates=50)),
    Case(
        "ha-unacked-quiet",
        in_subnet(pools=[{"pool": "10.0.0.10 - 10.0.0.99"}]),
        both(in_subnet(pools=[{"pool": "10.0.0.10 - 10.0.0.99"}]), in_ha(max_unacked_clients=0)),
    ),
    Case("ha-unacked-high", in_ha(max_unacked_clients=50), in_ha(max_unacked_clients=10)),
    Case("ha-unacked-off", in_ha(max_unacked_clients=0), in_ha(max_unacked_clients=1)),
    Case("ha-heartbeat-long", in_ha(heartbeat_delay=30000), in_ha(heartbeat_delay=20000)),
    Case("ha-response-before-heartbeat", in_ha(max_response_delay=20000), in_ha(max_response_delay=30000)),
    Case("ha-lease-shorter-than-failover", top(valid_lifetime=120), top(valid_lifetime=300)),
    Case("ha-sync-timeout-short", in_ha(sync_timeout=1000), in_ha(sync_timeout=10000)),
    Case("ha-sync-page", in_ha(sync_page_limit=50000), in_ha(sync_page_limit=1000)),
    Case("ha-sync-page", in_ha(sync_page_limit=0), in_ha(sync_page_limit=10000)),
    Case(
        "ha-listener-threads",
        in_ha(multi_threading={"http-listener-threads": 4}),
        in_ha(multi_threading={"http-listener-threads": 1}),
        version="2.6.3",
    ),
    Case("ha-listener-threads", nothing, top(multi_threading={"thread-pool-size": 1}), version="2.6.3"),
    Case("ha-listener-threads", nothing, nothing, version="2.6.3", quiet_version="3.0.4"),
    Case("top-level", lambda c: c.update({"Control-agent": {}}), lambda c: c.update({"hash": "x"})),
    Case("interfaces-none", top(interfaces_config={"interfaces": []}), top(interfaces_config={"interfaces": ["*"]})),
    Case(
        "interface-several-addresses",
        nothing,
        top(interfaces_config={"interfaces": ["eth0/10.0.0.2"]}),
        addresses=("10.0.0.2", "10.0.0.1"),
    ),
    Case(
        "interface-several-addresses",
        top(interfaces_config={"interfaces": ["*"]}),
        addresses=("10.0.0.2", "10.0.0.1"),
        quiet=top(interfaces_config={"interfaces": ["eth1"]}),
    ),
    Case(
        "socket-udp",
        top(interfaces_config={"interfaces": ["eth0"], "dhcp-socket-type": "udp"}),
        top(interfaces_config={"interfaces": ["eth0"], "dhcp-socket-type": "raw"}),
    ),
    Case("sockets-not-retried", top(interfaces_config={"interfaces": ["eth0"]})),
    Case(
        "subnets-none",
        top(subnet4=[]),
        top(subnet4=[], shared_networks=[{"subnet4": [{"id": 1, "subnet": "10.0.0.0/8"}]}]),
    ),
    Case(
        "persist-off",
        top(lease_database={"type": "memfile", "persist": False}),
        top(lease_database={"type": "mysql", "persist": False}),
    ),
    Case("lfc-off", top(lease_database={"lfc-interval": 0}), top(lease_database={"lfc-interval": 60})),
    Case("ip-reservations-unique", top(ip_reservations_unique=False), top(ip_reservations_unique=True)),
    Case(
        "reservation-address-twice",
        in_subnet(reservations=[host("10.0.0.5", "01"), host("10.0.0.5", "02")]),
        both(
            top(ip_reservations_unique=False), in_subnet(reservations=[host("10.0.0.5", "01"), host("10.0.0.5", "02")])
        ),
    ),
    Case(
        "reservation-client-twice",
        in_subnet(reservations=[host("10.0.0.5", "0a"), host("10.0.0.6", "0A")]),
        in_subnet(reservations=[host("10.0.0.5", "0a"), host("10.0.0.6", "0b")]),
    ),
    Case(
        "reservation-outside",
        in_subnet(reservations=[host("11.0.0.5", "01")]),
        in_subnet(reservations=[host("10.0.0.5", "01")]),
    ),
    Case("subnet-id-missing", lambda c: subnet(c).pop("id")),
    Case("subnet-twice", add_subnet(id=1, subnet="172.16.0.0/16"), add_subnet(id=2, subnet="172.16.0.0/16")),
    Case("subnet-twice", add_subnet(id=2, subnet="10.0.0.0/8"), add_subnet(id=2, subnet="172.16.0.0/16")),
    Case(
        "pool-outside",
        in_subnet(pools=[{"pool": "11.0.0.1 - 11.0.0.9"}]),
        in_subnet(pools=[{"pool": "10.0.0.1-10.0.0.9"}]),
    ),
    Case(
        "pool-outside", in_subnet(pools=[{"pool": "10.0.0.9 - 10.0.0.1"}]), in_subnet(pools=[{"pool": "10.0.0.0/24"}])
    ),
    Case(
        "pools-overlap",
        in_subnet(pools=[{"pool": "10.0.0.1 - 10.0.0.9"}, {"pool": "10.0.0.0/29"}]),
        in_subnet(pools=[{"pool": "10.0.0.9 - 10.0.0.12"}, {"pool": "10.0.0.0/29"}]),
    ),
    Case("control-socket-none", lambda c: dhcp(c).pop("control-sockets"), nothing),
    Case("control-sockets", top(control_socket={"socket-type": "unix", "socket-name": "x"})),
    Case("control-sockets", nothing, version="2.6.3", quiet=lambda c: dhcp(c).pop("control-sockets")),
    Case(
        "path-not-allowed",
        top(control_sockets=[{"socket-type": "unix", "socket-name": "/tmp/kea.sock"}]),
        top(control_sockets=[{"socket-type": "unix", "socket-name": "kea.sock"}]),
    ),
    Case(
        "path-not-allowed",
        top(lease_database={"name": "/tmp/leases.csv"}),
        top(lease_database={"name": "/tmp/leases.csv"}),
        quiet_version="2.6.2",
    ),
    Case("output-options", nothing, version="2.4.0", quiet=top(loggers=[{"name": "kea-dhcp4", "output_options": []}])),
    Case(
        "logs-too-quiet", top(loggers=[{"name": "kea-dhcp4", "severity": "WARN"}]), top(loggers=[{"name": "kea-dhcp4"}])
    ),
    Case(
        "logger-twice",
        top(loggers=[{"name": "kea-dhcp4"}, {"name": "kea-dhcp4", "severity": "INFO"}]),
        top(loggers=[{"name": "kea-dhcp4"}, {"name": "kea-dhcp4.ha-hooks", "severity": "INFO"}]),
    ),
    Case("lifetimes-contradict", top(min_valid_lifetime=9000), top(min_valid_lifetime=900, max_valid_lifetime=9000)),
)
"""Rules over one configuration."""

PAIR: tuple[Case, ...] = (
    Case("pair-ha-missing", hook("ha", there=False)),
    Case("pair-ha-missing", both(_relationships([relationship("d", ("c", "d"), 4)]), hub), hub),
    Case("pair-same-name", in_ha(this_server_name="a")),
    Case(
        "pair-peers-differ",
        both(
            _one_peer_less,
            lambda c: ha(c)["peers"].append({"name": "c", "role": "primary", "url": "https://10.77.0.9:1/"}),
        ),
    ),
    Case("pair-roles-differ", both(peer(0, role="standby"), peer(1, role="primary"))),
    Case("pair-modes-differ", load_balancing(split=True), in_ha(mode="hot-standby")),
    Case("pair-urls-differ", peer(0, url="https://10.77.0.2:8766/"), peer(0, url="https://10.77.0.2:8765")),
    Case("pair-timers-differ", in_ha(max_response_delay=30000), in_ha(max_unacked_clients=10)),
    Case("pair-subnets-differ", in_subnet(id=2), in_subnet(interface="eth1")),
    Case("pair-subnets-differ", in_subnet(subnet="10.77.0.0/16", pools=[]), nothing),
    Case("pair-subnets-differ", add_subnet(id=2, subnet="172.16.0.0/16"), hub),
    Case(
        "pair-pools-differ",
        in_subnet(pools=[{"pool": "10.128.0.0 - 10.128.255.255"}]),
        in_subnet(pools=[{"pool": "10.128.0.0-10.191.255.255"}]),
    ),
    Case("pair-options-differ", top(option_data=[{"name": "routers", "data": "10.0.0.1"}]), top(option_data=[])),
    Case("pair-options-differ", in_subnet(option_data=[{"code": 3, "data": "10.0.0.1"}]), top(option_def=[])),
    Case("pair-classes-differ", top(client_classes=[{"name": "x", "test": "member('ALL')"}]), top(client_classes=[])),
    Case("pair-reservations-differ", in_subnet(reservations=[host("10.0.0.5", "01")]), in_subnet(reservations=[])),
    Case("pair-hooks-differ", hook("run_script", there=True), nothing),
    Case("pair-versions-differ", nothing, nothing, second_version="2.6.3"),
    Case("pair-lifetimes-differ", top(valid_lifetime=3600), top(valid_lifetime=7200)),
    Case("pair-behaviour-differs", top(match_client_id=False), nothing),
    Case(
        "pair-both-pause",
        in_ha(state_machine=_ready("always")),
        nothing,
        base=lambda c: ha(c)["this-server-name"] == "a" and in_ha(state_machine=_ready("always"))(c),
    ),
    Case(
        "pair-one-database",
        nothing,
        top(lease_database={"type": "mysql", "name": "kea", "host": "db2"}),
        base=top(lease_database={"type": "mysql", "name": "kea", "host": "db1"}),
    ),
    Case("pair-ddns-differs", top(dhcp_ddns={"enable-updates": True}), top(dhcp_ddns={"enable-updates": False})),
    Case(
        "pair-ddns-both",
        top(dhcp_ddns={"enable-updates": True}),
        nothing,
        base=lambda c: ha(c)["this-server-name"] == "a" and top(dhcp_ddns={"enable-updates": True})(c),
    ),
)
"""Rules over a pair; the change is made to the second server's configuration."""


def subject(config: Json, version: str | None, case: Case | None = None) -> Subject:
    """Return a configuration as it is looked at."""
    addresses = {"eth0": case.addresses, "lo": ("127.0.0.1",)} if case and case.addresses else None
    document = parse(json.dumps(config, indent=2), "kea.conf")
    return run.subject_of(document, "kea.conf", run.Told(version=version_of(version), addresses=addresses))


def of_one(case: Case, change: Change, version: str | None = None) -> list[Finding]:
    """Return what is found in one configuration."""
    config = good(family=case.family)
    case.base(config)
    change(config)
    return run.lint([subject(config, version or case.version, case)])


def of_two(case: Case, change: Change, second_version: str | None = None) -> list[Finding]:
    """Return what is found in a pair, of which the second server's configuration is changed."""
    first, second = good("a"), good("b")
    case.base(first)
    case.base(second)
    change(second)
    return run.lint([subject(first, case.version), subject(second, second_version or case.version)])
