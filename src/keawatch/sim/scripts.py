"""Tells the stories: what keawatch is made for, and what a faithful simulation must get right."""

from keawatch.sim.settings import PairSpec
from keawatch.sim.story import (
    Action,
    BreakSubnets,
    Command,
    Configure,
    Cut,
    FillDisk,
    Freeze,
    Kill,
    MakeRoom,
    Mend,
    Pass,
    Script,
    Serve,
    Skew,
    Start,
    StartPair,
    Thaw,
    Wait,
)

H = 1.0
"""Heartbeat-delay of all scripts, in seconds."""
BRISK = PairSpec(heartbeat_delay=H, max_response_delay=4.0, max_ack_delay=1.0)
HELD = PairSpec(heartbeat_delay=H, max_response_delay=4.0, max_ack_delay=1.0, pause_standby_in_ready=True)
SHARED = PairSpec(heartbeat_delay=H, max_response_delay=4.0, max_ack_delay=1.0, mode="load-balancing")

COUNTING = ("2.6", "3.0")
"""Releases that count rejected updates."""

HEALTHY = Wait("hot-standby", "hot-standby")
DEAD = Wait("terminated", "terminated")
BEAT = Pass(1.6 * H)
"""Longer than one heartbeat and shorter than two."""
START = (StartPair(), HEALTHY, BEAT)


def _reset(server: str) -> Command:
    return Command(server, "ha-reset")


def _sync(server: str, source: str) -> Command:
    return Command(server, "ha-sync", {"server-name": source, "max-period": 10})


def _skewed(seconds: float) -> tuple[Action, ...]:
    return (*START, Skew("b", seconds), DEAD, Pass(1.0), Skew("b", 0.0), Pass(1.0))


REJECTED = (BreakSubnets(), *START, Serve(20, 3, 40), DEAD, Pass(5.0))
"""B's subnet does not hold A's addresses: ten clients' updates are rejected, and both servers terminate."""

SCRIPTS = (
    Script(
        "normal start", "Both servers start, and the primary serves.", (*START, Serve(20, 2), Pass(0.0)), BRISK, (4, 6)
    ),
    Script(
        "standby dies and comes back",
        "The standby is killed; the primary serves alone; the standby comes back and syncs.",
        (
            *START,
            Serve(20, 1),
            Kill("b"),
            Wait("partner-down", "down"),
            Serve(20, 1),
            Start("b"),
            HEALTHY,
            Serve(20, 1),
        ),
        BRISK,
        (4, 6),
    ),
    Script(
        "primary dies and comes back",
        "The primary is killed; the standby takes over; the primary comes back and takes over again.",
        (*START, Kill("a"), Wait("down", "partner-down"), Serve(20, 1), Start("a"), HEALTHY, Pass(2.5), Serve(20, 1)),
        BRISK,
    ),
    Script(
        "standby restarts quickly",
        "The standby is back before anybody has missed it.",
        (*START, Kill("b"), Start("b"), Wait("hot-standby", "hot-standby"), Pass(2.5), Serve(20, 1)),
        BRISK,
    ),
    Script(
        "rejected, reset b then a",
        "Rejected updates kill the pair; b is reset, and when it waits, a.",
        (*REJECTED, Serve(20, 1), _reset("b"), BEAT, _reset("a"), HEALTHY),
        BRISK,
        versions=COUNTING,
    ),
    Script(
        "standby steps aside",
        "Both terminated, b's listener steps aside: a finds it gone, serves alone, and b comes back.",
        (
            *REJECTED,
            Configure("b", "aside"),
            BEAT,
            _reset("a"),
            Command("a", "ha-maintenance-start"),
            Serve(20, 1),
            Pass(2.5),
            Configure("b", "full"),
            HEALTHY,
            BEAT,
            Serve(20, 1),
        ),
        BRISK,
        versions=COUNTING,
    ),
    Script(
        "rejected on 2.2",
        "Kea 2.2 knows no conflicts: rejected clients go unserved, and nobody terminates.",
        (BreakSubnets(), *START, Serve(20, 3, 40), Pass(2.5), Serve(20, 1)),
        BRISK,
        versions=("2.2",),
    ),
    Script(
        "rejected, reset a first",
        "Rejected updates kill the pair; a is reset first and bounces.",
        (*REJECTED, _reset("a"), BEAT, _reset("b"), BEAT, _reset("a"), HEALTHY),
        BRISK,
        versions=COUNTING,
    ),
    Script(
        "skew, resets bounce",
        "A clock 90 s ahead kills the pair; set right, each server's first reset bounces, its second holds.",
        (*_skewed(90.0), _reset("b"), BEAT, _reset("b"), BEAT, _reset("a"), BEAT, _reset("a"), HEALTHY),
        BRISK,
    ),
    Script(
        "clock set back, timers stand still",
        "b's clock is set 90 s back: a terminates, while b's timers wait for the old time and it hears nothing.",
        (
            *START,
            Skew("b", -90.0),
            Wait("terminated", "hot-standby"),
            Pass(6.0),
        ),
        BRISK,
    ),
    Script(
        "skew forgotten, scopes trap",
        "A failing ha-sync makes a forget the skew; its reset is partner-down with the entry not run, and ha-scopes mends it.",
        (
            *_skewed(90.0),
            Configure("b", "without-ha"),
            Pass(3.0),
            _sync("a", "b"),
            _reset("a"),
            Command("a", "ha-maintenance-start"),
            Command("a", "ha-scopes", {"scopes": ["a"]}),
            Pass(2.5),
        ),
        BRISK,
    ),
    Script(
        "maintenance with the partner away",
        "b's HA listener is gone, so maintenance takes a to partner-down at once.",
        (
            *START,
            Configure("b", "without-ha"),
            Command("a", "ha-maintenance-start"),
            Configure("b", "no-sync"),
            HEALTHY,
            Serve(20, 1),
        ),
        BRISK,
    ),
    Script(
        "maintenance with the partner there",
        "Maintenance of b is started, refused a second time, and cancelled.",
        (
            *START,
            Command("b", "ha-maintenance-cancel"),
            Command("a", "ha-maintenance-start"),
            Command("a", "ha-maintenance-start"),
            Command("b", "ha-maintenance-start"),
            BEAT,
            Serve(20, 1),
            Command("a", "ha-maintenance-cancel"),
            Pass(3.5),
        ),
        BRISK,
    ),
    Script(
        "maintenance refused",
        "A terminated partner refuses maintenance, and so does a terminated server.",
        (*_skewed(90.0), Command("a", "ha-maintenance-start"), Command("b", "ha-maintenance-start")),
        BRISK,
    ),
    Script(
        "DHCP off and on",
        "Each origin switches DHCP off and is switched on only by itself; a max-period ends by itself.",
        (
            *START,
            Command("a", "dhcp-disable"),
            Serve(20, 1),
            Command("a", "dhcp-enable", {"origin": "ha-partner"}),
            Command("a", "dhcp-enable"),
            Command("a", "dhcp-disable", {"origin": "ha-partner"}),
            Command("a", "dhcp-enable"),
            Command("a", "dhcp-enable", {"origin": "ha-partner"}),
            Command("a", "dhcp-disable", {"origin-id": 1000}),
            BEAT,
            Command("a", "dhcp-enable", {"origin-id": 1000}),
            Command("a", "dhcp-disable", {"origin": 2000}),
            Command("a", "dhcp-enable", {"origin-id": 2000}),
            Command("a", "dhcp-enable"),
            Command("a", "dhcp-disable", {"max-period": 1}),
            Pass(1.5),
            Command("a", "dhcp-disable", {"max-period": 0}),
            Command("a", "dhcp-disable", {"origin": "nobody"}),
            Serve(20, 1),
        ),
        BRISK,
    ),
    Script(
        "HA taken away and given back",
        "b loses its HA service by config-set and gets it back; DHCP that a user switched off stays off.",
        (
            *START,
            Command("b", "dhcp-disable", {"max-period": 60}),
            Configure("b", "without-ha"),
            Configure("b", "full"),
            HEALTHY,
            Command("b", "dhcp-enable"),
            Command("a", "ha-scopes", {"scopes": ["HA_a"]}),
            Command("a", "ha-sync", {"server-name": "nobody"}),
            Command("a", "ha-sync", {}),
            Command("a", "ha-sync"),
            Configure("a", "full"),
            HEALTHY,
        ),
        BRISK,
    ),
    Script(
        "sync beside partner-down",
        "a is partner-down; b, held in waiting, syncs from it, and from 2.6 on a stays switched off by its own origin.",
        (
            *START,
            Configure("b", "without-ha"),
            Command("a", "ha-maintenance-start"),
            Configure("b", "held"),
            BEAT,
            _sync("b", "a"),
            Pass(2.5),
            Serve(20, 1),
            Command("a", "dhcp-enable"),
            Command("a", "dhcp-enable", {"origin-id": 1000}),
            Serve(20, 1),
            _reset("b"),
            Command("b", "ha-continue"),
            Command("b", "ha-continue"),
            HEALTHY,
        ),
        BRISK,
    ),
    Script(
        "held in ready",
        "b is paused in ready; a serves and keeps it up to date; ha-continue lets it in.",
        (
            StartPair(),
            Wait("hot-standby", "ready"),
            Serve(20, 1),
            Pass(2.5),
            Command("b", "ha-continue"),
            HEALTHY,
            Command("b", "ha-continue"),
        ),
        HELD,
    ),
    Script(
        "held in ready, primary dies",
        "b is paused in ready and does not take over until ha-continue.",
        (
            StartPair(),
            Wait("hot-standby", "ready"),
            Kill("a"),
            Pass(6.5),
            Serve(20, 1),
            Command("b", "ha-continue"),
            Wait("down", "partner-down"),
            Serve(20, 1),
        ),
        HELD,
    ),
    Script(
        "split and mended",
        "The link is cut, both serve; mended, they come together again.",
        (*START, Cut(), Wait("partner-down", "partner-down"), Serve(20, 1), Mend(), HEALTHY, Pass(2.5), Serve(20, 1)),
        BRISK,
    ),
    Script(
        "only a is reset",
        "Both terminated, only b is reset: a serves on and b waits.",
        (*REJECTED, _reset("b"), Pass(3.5), _reset("b"), Serve(20, 1)),
        BRISK,
        versions=COUNTING,
    ),
    Script(
        "healthy standby is reset",
        "A reset of a healthy standby is a full resync.",
        (*START, Serve(20, 1), _reset("b"), Wait("hot-standby", "hot-standby"), Pass(2.5), Serve(20, 1)),
        BRISK,
    ),
    Script(
        "frozen standby",
        "b is stopped and runs on later.",
        (*START, Freeze("b"), Pass(18.0), Thaw("b"), Wait("hot-standby", "hot-standby"), Pass(2.5), Serve(20, 1)),
        BRISK,
    ),
    Script(
        "full disk",
        "a's disk is full: it offers and refuses, and to b all is well; with room again it goes on by itself.",
        (*START, Serve(20, 1), FillDisk("a"), Serve(20, 2), Pass(2.5), MakeRoom("a"), Serve(20, 1), Pass(2.5)),
        BRISK,
        versions=("2.2", "2.6"),
    ),
    Script(
        "full disk of the standby",
        "b's disk is full: a's lease updates fail, so its clients get no answer.",
        (*START, Serve(20, 1), FillDisk("b"), Serve(20, 2), MakeRoom("b"), Pass(2.5), Serve(20, 1)),
        BRISK,
        versions=("2.6",),
    ),
    Script(
        "full disk ends 3.0",
        "a ends at the first lease that it can't store, and b takes over.",
        (
            *START,
            FillDisk("a"),
            Serve(20, 1),
            Wait("down", "partner-down"),
            Serve(20, 1),
            MakeRoom("a"),
            Start("a"),
            HEALTHY,
            Pass(2.5),
            Serve(20, 1),
        ),
        BRISK,
        versions=("3.0",),
    ),
    Script(
        "load-balancing",
        "Both serve their half; one dies and comes back.",
        (
            StartPair(),
            Wait("load-balancing", "load-balancing"),
            Serve(20, 2),
            Kill("b"),
            Wait("partner-down", "down"),
            Serve(20, 1),
            Start("b"),
            Wait("load-balancing", "load-balancing"),
            Serve(20, 2),
        ),
        SHARED,
    ),
    Script(
        "rejected in DHCPv6",
        "In DHCPv6 a subnet mismatch is refused with result 1, which is no conflict: nobody is served and nobody terminates.",
        (BreakSubnets(), *START, Serve(20, 3, 40), Pass(2.5)),
        BRISK,
        (6,),
    ),
)
