"""
The rules of `keawatch lint` whose advice is tried on real Kea, each with what is played, and those that are not tried, with the reason.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.kea_pair import advice_plays as plays
from tests.kea_pair import sql
from tests.kea_pair.advice_plays import Play, Setup, on_both, pause, primary_dies, url
from tests.kea_pair.config import NARROW4, Json, PairSpec
from tests.kea_pair.device import BOOT_SERVER, DOMAIN_NAME, ROUTERS, Device
from tests.kea_pair.lab import Lab
from tests.lint.cases import add_subnet, both, dhcp, in_ha, in_subnet, load_balancing, nothing, peer, top

Judge = Callable[[Json, Json], bool]


LATE, EARLY = (PairSpec(version=version, max_response_delay=3.0) for version in ("3.0", "2.6"))


@dataclass(frozen=True)
class Trial:
    """One rule: the configuration that it warns of, the one that it advises, what is played with each, and what must come of it."""

    rule: str
    played: str
    """What is played, in words for the page."""
    told: str
    """What was seen, made of the figures of one play."""
    warned: Setup
    advised: Setup
    play: Play
    keeps: Judge
    """Whether the figures without the advice and with it are as the rule promises."""
    spec: PairSpec = LATE
    prepare: Callable[[Lab], object] = lambda _: None
    """What is done to the hosts before."""
    advised_spec: PairSpec | None = None
    """The pair that is advised, where that is not a matter of its configuration."""


SLOW_BEAT = 21000
_NONE = Setup(nothing, nothing)
_ANSWERED = "{acked} of {sent} exchanges answered"
_SMALL_POOL = in_subnet(pools=[{"pool": "10.128.0.0 - 10.128.0.99"}])


def _unanswered_against_answered(without: Json, advised: Json) -> bool:
    """Nobody is served without the advice; with it most are, the failover's own time aside."""
    return bool(without["acked"] == 0 and advised["acked"] > 0.4 * advised["sent"])


def _second_address(lab: Lab) -> None:
    lab.run_in("a", ["ip", "address", "add", "10.77.9.1/8", "dev", "eth0"])


def _interfaces(*names: str, **more: str | int) -> Callable[[Json], object]:
    return top(
        interfaces_config={"interfaces": list(names), **{key.replace("_", "-"): value for key, value in more.items()}}
    )


def _database(**settings: object) -> Callable[[Json], object]:
    return lambda config: dhcp(config)["lease-database"].update(
        {key.replace("_", "-"): value for key, value in settings.items()}
    )


def _severity(severity: str) -> Callable[[Json], object]:
    return lambda config: dhcp(config)["loggers"][0].update({"severity": severity})


def _loggers(config: Json, *, apart: bool) -> None:
    """Give the server a second log, by a logger of its own or as one more output of the one that there is."""
    logger = dhcp(config)["loggers"][0]
    key = next(key for key in logger if key.startswith("output"))
    second = {**logger[key][0], "output": logger[key][0]["output"].replace("kea-dhcp4.log", "second.log")}
    if apart:
        dhcp(config)["loggers"].append({**logger, key: [second]})
    else:
        logger[key].append(second)


def _threads(listener: int) -> Json:
    return {
        "enable-multi-threading": True,
        "http-dedicated-listener": True,
        "http-listener-threads": listener,
        "http-client-threads": 4,
    }


_CARD, _DOCK = "02:00:00:00:00:01", "02:00:00:00:00:02"
_NAMES = top(dhcp_ddns={"enable-updates": True}, ddns_qualifying_suffix="lab.example.")
_BESIDE = add_subnet(id=2, subnet="172.16.0.0/16", pools=[{"pool": "172.16.8.0/21"}])
_BOOT_OPTION = {"name": "tftp-server-name", "data": "phones.example"}
_PHONES = top(client_classes=[{"name": "phones", "test": "option[60].text == 'phone'", "option-data": [_BOOT_OPTION]}])
_FLEXIBLE = plays.with_hook("flex_option", {"options": [{"code": DOMAIN_NAME, "supersede": "'lab.example'"}]})
_RESERVED = in_subnet(reservations=[{"hw-address": _CARD, "ip-address": "10.1.0.5"}])


def _told_router(name: str) -> Callable[[Json], object]:
    return top(option_data=[{"name": "routers", "data": name}])


def _one_database(*, updates: bool) -> Callable[[Json], object]:
    return both(top(lease_database=sql.PLACE), in_ha(send_lease_updates=updates, sync_leases=updates))


def _retried(tries: int) -> Callable[[Json], object]:
    retries = {"service_sockets_max_retries": tries, "service_sockets_retry_wait_time": 500}
    return both(_interfaces("eth0", plays.LATE_INTERFACE, **retries), _BESIDE)


def _before_and_after(without: Json, advised: Json) -> bool:
    """The client is told something else without the advice, and the same with it."""
    return bool("no answer" != advised["before"] == advised["after"] == without["before"] != without["after"])


def _class(name: str) -> Callable[[Json], object]:
    return in_subnet(client_classes=[name])


TRIALS: tuple[Trial, ...] = (
    Trial(
        "ha-listener-threads",
        "clients, 600 at most, the REQUEST of each sent by four network cards at once",
        "{refused} updates refused, then {states}",
        on_both(in_ha(multi_threading=_threads(4))),
        on_both(in_ha(multi_threading=_threads(1))),
        plays.storm,
        lambda without, advised: (
            without["refused"] >= 10 and "terminated" in without["states"] and advised["refused"] == 0
        ),
        EARLY,
    ),
    Trial(
        "interface-several-addresses",
        "a second address at the primary's interface; 200 new clients, 50 a second",
        "{discovers} DISCOVERs counted of {sent} sent, {refused} updates refused, {acked} exchanges answered",
        _NONE,
        Setup(_interfaces("eth0/10.77.0.2"), nothing),
        plays.ordinary_clients(50, 4),
        lambda without, advised: (
            without["discovers"] == 2 * without["sent"]
            and advised["discovers"] == advised["sent"]
            and without["refused"] > 0 == advised["refused"]
        ),
        EARLY,
        _second_address,
    ),
    Trial(
        "ha-heartbeat-long",
        "heartbeat-delay 21 s or 10 s; the standby comes back just after a heartbeat of the primary, which serves alone",
        "{lost} of {sent} exchanges lost, {gap} s without an answer",
        on_both(in_ha(heartbeat_delay=SLOW_BEAT)),
        on_both(in_ha(heartbeat_delay=10000)),
        plays.rejoin_after_heartbeat,
        lambda without, advised: without["gap"] > 15 and advised["gap"] < 11,
        EARLY,
    ),
    Trial(
        "ha-unacked-quiet",
        "the primary killed, three clients asking for 10 s; max-unacked-clients 10 or 0, max-response-delay 3 s",
        f"{_ANSWERED}, the standby {{state}}",
        on_both(both(_SMALL_POOL, in_ha(max_unacked_clients=10))),
        on_both(both(_SMALL_POOL, in_ha(max_unacked_clients=0))),
        primary_dies(3),
        _unanswered_against_answered,
    ),
    Trial(
        "ha-unacked-high",
        "the primary killed, ten clients asking for 15 s; max-unacked-clients 25 or 2, max-ack-delay 1 s",
        f"{_ANSWERED}, the standby {{state}}",
        on_both(in_ha(max_unacked_clients=25)),
        on_both(in_ha(max_unacked_clients=2)),
        primary_dies(10, seconds=15),
        _unanswered_against_answered,
    ),
    Trial(
        "ha-unacked-off",
        "the link between the servers cut for 8 s, 50 new clients a second reaching both; max-unacked-clients 0 or 2",
        "{states}; {twice} addresses given to two clients",
        on_both(in_ha(max_unacked_clients=0)),
        on_both(in_ha(max_unacked_clients=2)),
        plays.link_cut(8.0),
        lambda without, advised: without["alone"] and without["twice"] > 0 == advised["twice"] and not advised["alone"],
    ),
    Trial(
        "ha-response-before-heartbeat",
        "the link cut for 2.5 s, heartbeat-delay 1 s; max-response-delay 1.5 s or 6 s",
        "the standby served beside the primary: {alone}; {twice} addresses given to two clients",
        on_both(in_ha(max_response_delay=1500)),
        on_both(in_ha(max_response_delay=6000)),
        plays.link_cut(2.5),
        lambda without, advised: without["alone"] and not advised["alone"],
    ),
    Trial(
        "pair-timers-differ",
        "the link cut for 2.5 s; max-response-delay 1.5 s on the standby alone, or 6 s on both",
        "the standby served beside the primary: {alone}; {twice} addresses given to two clients",
        Setup(in_ha(max_response_delay=6000), in_ha(max_response_delay=1500)),
        on_both(in_ha(max_response_delay=6000)),
        plays.link_cut(2.5),
        lambda without, advised: without["alone"] and not advised["alone"],
        EARLY,
    ),
    Trial(
        "ha-rejects-never",
        "the standby's subnet is another; 20 new clients a second for 6 s; max-rejected-lease-updates 0 or 10",
        f"{_ANSWERED}, then {{states}}",
        on_both(in_ha(max_rejected_lease_updates=0)),
        on_both(in_ha(max_rejected_lease_updates=10)),
        plays.ordinary_clients(20, 6),
        _unanswered_against_answered,
        PairSpec(version="3.0", standby_subnets=(NARROW4,)),
    ),
    Trial(
        "ha-rejects-high",
        "the standby's subnet is another; 40 new clients a second for 5 s; max-rejected-lease-updates 100 or 50",
        f"{_ANSWERED}, then {{states}}",
        on_both(in_ha(max_rejected_lease_updates=100)),
        on_both(in_ha(max_rejected_lease_updates=50)),
        plays.ordinary_clients(40, 5),
        lambda without, advised: without["sent"] - without["acked"] >= 100 > advised["sent"] - advised["acked"] >= 50,
        PairSpec(version="2.6", standby_subnets=(NARROW4,)),
    ),
    Trial(
        "ha-auto-failover",
        "the primary killed, a hundred clients asking for 10 s; auto-failover of the standby off or on",
        f"{_ANSWERED}, the standby {{state}}",
        on_both(peer(1, auto_failover=False)),
        on_both(peer(1, auto_failover=True)),
        primary_dies(plays.CROWD),
        _unanswered_against_answered,
    ),
    Trial(
        "ha-pause-on-primary",
        "both servers started at once, clients asking for 10 s; a pause in ready on the primary, or none",
        f"{_ANSWERED}, {{states}}",
        Setup(pause("ready"), nothing),
        _NONE,
        plays.power_on,
        _unanswered_against_answered,
    ),
    Trial(
        "pair-both-pause",
        "both servers started at once, clients asking for 10 s; a pause in ready on both, or on the standby alone",
        f"{_ANSWERED}, {{states}}",
        on_both(pause("ready")),
        Setup(nothing, pause("ready")),
        plays.power_on,
        _unanswered_against_answered,
        EARLY,
    ),
    Trial(
        "ha-pause-elsewhere",
        "both started, the primary killed after 8 s, clients asking for 10 s; the standby pauses in waiting, or never",
        f"{_ANSWERED}, the standby {{state}}",
        Setup(nothing, pause("waiting")),
        _NONE,
        plays.unready_primary_dies,
        _unanswered_against_answered,
    ),
    Trial(
        "ha-unknown-parameter",
        "the primary killed, three clients asking for 10 s; max-unacked-client 0 (misspelt), or max-unacked-clients 0",
        f"{_ANSWERED}, the standby {{state}}",
        on_both(in_ha(max_unacked_clients=None, max_unacked_client=0)),
        on_both(in_ha(max_unacked_clients=0)),
        primary_dies(3),
        _unanswered_against_answered,
        EARLY,
    ),
    Trial(
        "ha-updates-off",
        "a hundred clients served, the primary killed, a hundred other clients served by the standby; send-lease-updates off or on",
        "the standby knows {known} of {leased} leases; {taken} addresses in use given to others",
        on_both(in_ha(send_lease_updates=False)),
        on_both(in_ha(send_lease_updates=True)),
        plays.others_after_failover,
        lambda without, advised: (
            without["known"] == 0 < without["taken"] and advised["known"] == advised["leased"] and advised["taken"] == 0
        ),
    ),
    Trial(
        "persist-off",
        "a hundred clients served, both servers killed and started, a hundred other clients served; persist false or true",
        "{known} of {leased} leases known; {taken} addresses in use given to others",
        on_both(_database(persist=False)),
        on_both(_database(persist=True)),
        plays.others_after_power_cut,
        lambda without, advised: (
            without["known"] == 0 < without["taken"] and advised["known"] == advised["leased"] and advised["taken"] == 0
        ),
    ),
    Trial(
        "lfc-off",
        "ten clients, 100 exchanges a second for 8 s; lfc-interval 0, or 2 s (3600 s in life)",
        "{acked} updates leave {lines} lines in the lease files, for {leases} leases",
        on_both(_database(lfc_interval=0)),
        on_both(_database(lfc_interval=2)),
        plays.renewals,
        lambda without, advised: without["lines"] > 500 and advised["lines"] < 0.5 * without["lines"],
        EARLY,
    ),
    Trial(
        "interfaces-none",
        "sixty clients; no interface named, or one",
        f"{_ANSWERED}, {{states}}",
        on_both(_interfaces()),
        on_both(_interfaces("eth0")),
        plays.ordinary_clients(),
        _unanswered_against_answered,
    ),
    Trial(
        "subnets-none",
        "sixty clients; no subnet, or one",
        f"{_ANSWERED}, {{states}}",
        on_both(top(subnet4=[])),
        _NONE,
        plays.ordinary_clients(),
        _unanswered_against_answered,
        EARLY,
    ),
    Trial(
        "ha-class-of-nobody",
        "sixty clients; the subnet for the class HA_server1, which is no server's name, or HA_a",
        f"{_ANSWERED}, {{states}}",
        on_both(_class("HA_server1")),
        on_both(_class("HA_a")),
        plays.ordinary_clients(),
        _unanswered_against_answered,
    ),
    Trial(
        "socket-udp",
        "ten clients of the servers' own network, with no relay before them; dhcp-socket-type udp or raw",
        "{offers} offers sent, {acked} clients got their lease",
        on_both(_interfaces("eth0", dhcp_socket_type="udp")),
        on_both(_interfaces("eth0", dhcp_socket_type="raw")),
        plays.direct_clients,
        lambda without, advised: without["acked"] == 0 and advised["acked"] == 10,
    ),
    Trial(
        "ha-pools-not-split",
        "load-balancing, 200 new clients a second for 4 s; pools of both servers, or a pool for each",
        "{twice} of {given} addresses given to two clients",
        on_both(load_balancing(split=False)),
        on_both(load_balancing(split=True)),
        plays.crowd,
        lambda without, advised: without["twice"] > 0 == advised["twice"],
        PairSpec(version="2.6", mode="load-balancing"),
    ),
    Trial(
        "ha-no-listener",
        "both started, no Control Agent there, 200 new clients; multi-threading off or on",
        "{states}; {apart} of {given} leases on one server alone",
        on_both(top(multi_threading={"enable-multi-threading": False})),
        _NONE,
        plays.lonely,
        lambda without, advised: without["apart"] > 0 == advised["apart"],
        EARLY,
    ),
    Trial(
        "ha-url-loopback",
        "both started, 200 new clients; the standby's URL at 127.0.0.1, or at its own address",
        "{states}; {apart} of {given} leases on one server alone",
        on_both(peer(1, url=url(8765, "127.0.0.1"))),
        _NONE,
        plays.lonely,
        lambda without, advised: without["apart"] > 0 == advised["apart"],
    ),
    Trial(
        "pair-urls-differ",
        "both started, 200 new clients; the primary has another port for the standby than that listens at, or the same",
        "{states}; {apart} of {given} leases on one server alone",
        Setup(peer(1, url=url(8799)), nothing),
        _NONE,
        plays.lonely,
        lambda without, advised: without["apart"] > 0 == advised["apart"],
    ),
    Trial(
        "ha-sync-timeout-short",
        "a standby without leases syncs from a primary of 60,000, for 20 s at most; sync-timeout 0.2 s or 60 s",
        "{failed} syncs failed, the standby holds {held} leases; {states}",
        on_both(in_ha(sync_timeout=200)),
        on_both(in_ha(sync_timeout=60000)),
        plays.sync(60000, 20.0),
        lambda without, advised: without["failed"] > 1 and without["held"] < without["leases"] == advised["held"],
        PairSpec(version="2.6", max_response_delay=60.0),
    ),
    Trial(
        "ha-sync-page",
        "a standby without leases syncs from a primary of 60,000; pages of 50,000 or 1000",
        "{sync} s for the sync",
        on_both(in_ha(sync_page_limit=50000)),
        on_both(in_ha(sync_page_limit=1000)),
        plays.sync(60000, 60.0),
        lambda without, advised: (
            None not in {without["sync"], advised["sync"]} and without["sync"] > 1.5 * advised["sync"]
        ),
        PairSpec(version="2.6", max_response_delay=60.0),
    ),
    Trial(
        "ha-listener-open",
        "config-get sent to the primary's HA listener by a host that is no server; restrict-commands false or true",
        "{config_get}",
        on_both(in_ha(restrict_commands=False)),
        on_both(in_ha(restrict_commands=True)),
        plays.stranger,
        lambda without, advised: (without["config_get"], advised["config_get"]) == ("answered", "refused"),
        EARLY,
    ),
    Trial(
        "logs-too-quiet",
        "a pair started until both are hot-standby; the log at WARN or at INFO",
        "{changes} changes of state in the primary's log",
        on_both(_severity("WARN")),
        on_both(_severity("INFO")),
        plays.log_of_a_start,
        lambda without, advised: without["changes"] == 0 < advised["changes"],
        EARLY,
    ),
    Trial(
        "logger-twice",
        "a pair started; a second logger of the same name, or one more output of the first",
        "{lines} lines in the second log",
        on_both(lambda config: _loggers(config, apart=True)),
        on_both(lambda config: _loggers(config, apart=False)),
        plays.second_log,
        lambda without, advised: without["lines"] == 0 < advised["lines"],
    ),
    Trial(
        "pair-pools-differ",
        "the primary killed, a hundred clients asking for 10 s; the standby's pool of ten addresses, or the primary's",
        f"{_ANSWERED}, the standby {{state}}",
        Setup(nothing, in_subnet(pools=[{"pool": "10.128.0.0 - 10.128.0.9"}])),
        _NONE,
        primary_dies(plays.CROWD),
        lambda without, advised: advised["acked"] > 2 * without["acked"],
    ),
    Trial(
        "pair-lifetimes-differ",
        "a client asks before and after the primary is killed; valid-lifetime 600 s on the standby, or 4000 s as on the primary",
        "a lease of {before} s before, of {after} s after",
        Setup(nothing, top(valid_lifetime=600)),
        _NONE,
        plays.same_client_after_failover,
        lambda without, advised: (without["before"], without["after"]) == (4000, 600) and advised["after"] == 4000,
    ),
    Trial(
        "pair-options-differ",
        "a client asks before and after the primary is killed; the standby's option routers is another, or the primary's",
        "the router {before} before, {after} after",
        Setup(_told_router("10.0.0.1"), _told_router("10.0.0.254")),
        on_both(_told_router("10.0.0.1")),
        plays.device_after_failover(lambda told: told.address_of(ROUTERS), Device(_CARD)),
        _before_and_after,
        EARLY,
    ),
    Trial(
        "pair-classes-differ",
        "a telephone asks before and after the primary is killed; the class that tells it its boot server on the primary alone, or on both",
        "boot server {before} before, {after} after",
        Setup(_PHONES, nothing),
        on_both(_PHONES),
        plays.device_after_failover(lambda told: told.text(BOOT_SERVER) or "none", Device(_CARD, vendor="phone")),
        _before_and_after,
    ),
    Trial(
        "pair-hooks-differ",
        "a client asks before and after the primary is killed; the hook flex_option, which tells a domain, on the primary alone, or on both",
        "the domain {before} before, {after} after",
        Setup(_FLEXIBLE, nothing),
        on_both(_FLEXIBLE),
        plays.device_after_failover(lambda told: told.text(DOMAIN_NAME) or "none", Device(_CARD)),
        _before_and_after,
    ),
    Trial(
        "pair-reservations-differ",
        "a client asks before and after the primary is killed; its reservation on the primary alone, or on both",
        "the address {before} before, {after} after",
        Setup(_RESERVED, nothing),
        on_both(_RESERVED),
        plays.device_after_failover(lambda told: told.address, Device(_CARD)),
        _before_and_after,
        EARLY,
    ),
    Trial(
        "pair-behaviour-differs",
        "a client of one identifier asks by one network card before the primary is killed, and by another after; match-client-id "
        "false on the standby alone, or true on both",
        "the address {before} before, {after} after",
        Setup(nothing, top(match_client_id=False)),
        _NONE,
        plays.device_after_failover(lambda told: told.address, Device(_CARD), Device(_DOCK, client=_CARD)),
        _before_and_after,
    ),
    Trial(
        "pair-ddns-differs",
        "ten clients with names before, and ten after the primary is killed; DNS updates by the primary alone, or by both",
        "{before} names sent to the DNS before, {after} after",
        Setup(_NAMES, nothing),
        on_both(_NAMES),
        plays.named_clients_after_failover,
        lambda without, advised: without["before"] > 0 == without["after"] and advised["after"] == without["before"],
    ),
    Trial(
        "pair-versions-differ",
        "twenty clients that give their addresses back at once; the standby 2.6.3 beside a primary of 3.0.4, or 3.0.4 as well",
        "{failed} updates failed; {kept} of {answered} addresses are still leased on the standby",
        _NONE,
        _NONE,
        plays.releases,
        lambda without, advised: (
            without["kept"] == without["answered"] > 0 == advised["kept"] == advised["failed"] < advised["answered"]
        ),
        PairSpec(version="3.0", standby_version="2.6"),
        advised_spec=LATE,
    ),
    Trial(
        "pair-one-database",
        "the standby restarted beside 20,000 leases in one PostgreSQL database, which both servers use; updates and syncs on or off",
        "{lost} of {sent} exchanges lost, {written} rows written for {acked} leases",
        on_both(_one_database(updates=True)),
        on_both(_one_database(updates=False)),
        plays.one_database,
        lambda without, advised: (
            without["lost"] > 20 > advised["lost"]
            and without["written"] > without["acked"]
            and 0 < advised["written"] <= advised["acked"]
        ),
        EARLY,
        lambda lab: sql.start(lab, EARLY.version),
    ),
    Trial(
        "ha-rejects-add-up",
        "a storm of 25 refused updates, one in 0.8 s, 10 allowed; leases of a day, or of 8 s, of which clients renew at the half",
        "{refused} updates refused, then {states}",
        on_both(both(top(valid_lifetime=86400), in_ha(max_rejected_lease_updates=10))),
        on_both(both(top(valid_lifetime=8), in_ha(max_rejected_lease_updates=10))),
        plays.slow_storm,
        lambda without, advised: (
            "terminated" in without["states"] and advised["refused"] >= 20 and "terminated" not in advised["states"]
        ),
        EARLY,
    ),
    Trial(
        "ha-lease-shorter-than-failover",
        "a hundred clients, the primary killed 3 s after; leases of 6 s or 600 s, max-response-delay 3 s",
        "{ended} of {leased} leases ended before the standby served",
        on_both(top(valid_lifetime=6)),
        on_both(top(valid_lifetime=600)),
        plays.leases_end,
        lambda without, advised: without["ended"] > 0.9 * without["leased"] > 0 == advised["ended"],
    ),
    Trial(
        "ha-subnet-of-no-relationship",
        "a primary with two relationships, sixty clients; the subnet names no server, or the primary",
        "{acked} of {sent} exchanges answered",
        Setup(plays.second_relationship, nothing),
        Setup(both(plays.second_relationship, in_subnet(user_context={"ha-server-name": "a"})), nothing),
        plays.hub,
        _unanswered_against_answered,
    ),
    Trial(
        "control-socket-none",
        "a standby that pauses in ready is told to go on, by its control socket or else by the HA listener; none, or one",
        "ha-continue taken: {continued}, the standby {state}",
        Setup(plays.without_socket, both(plays.without_socket, pause("ready"))),
        Setup(nothing, pause("ready")),
        plays.paused,
        lambda without, advised: (without["state"], advised["state"]) == ("ready", "hot-standby"),
    ),
    Trial(
        "sockets-not-retried",
        "the primary starts while one of its interfaces is down, which comes up 2 s later; ten clients there; no second try, or one each 0.5 s",
        "{acked} of {asked} clients got their lease, {states}",
        Setup(_retried(0), _BESIDE),
        Setup(_retried(200000), both(_BESIDE, _interfaces("eth0", service_sockets_max_retries=200000))),
        plays.late_interface,
        lambda without, advised: without["acked"] == 0 and advised["acked"] == advised["asked"],
        EARLY,
        plays.plug_in_late,
    ),
    Trial(
        "ha-pause-once",
        "the standby goes on from its pause in ready, and rejoins again by ha-reset; it pauses once or always",
        "it waited at its first rejoin: {first}, at its second: {second}",
        Setup(nothing, pause("ready", "once")),
        Setup(nothing, pause("ready", "always")),
        plays.second_rejoin,
        lambda without, advised: without["first"] and advised["first"] and advised["second"] and not without["second"],
    ),
)

UNPROVEN: dict[str, str] = {
    "server-not-read": "it tells what keawatch could not look at, and promises nothing",
}
"""Rules that promise an effect and are not tried, with the reason."""
