"""Tells the stories of a healing step by step, with each command that keawatch sends by cover and by reset."""

from keawatch.sim.scripts import BEAT, BRISK, COUNTING, DEAD, HEALTHY, START
from keawatch.sim.story import Command, Configure, Kill, Pass, Script, Serve, Skew, Start, Wait

SKEWED = (*START, Skew("b", 90.0), DEAD, Pass(1.0), Skew("b", 0.0), Pass(1.0))
"""Both are terminated by b's clock, which is right again; heartbeats are off, so neither has heard of it."""

FORGET = Command("a", "ha-sync", {"server-name": "b", "max-period": 10})
SCOPES = Command("a", "ha-scopes", {"scopes": ["a"]})
MAINTENANCE = Command("a", "ha-maintenance-start")
COMES_BACK = (Wait("partner-down", "ready"), BEAT, Serve(20, 1), Configure("b", "full"), HEALTHY)
"""b stays ready beside a, which serves, until it gets its own configuration back."""
RESET_A, RESET_B = Command("a", "ha-reset"), Command("b", "ha-reset")

HEALINGS = (
    Script(
        "reset, with scopes given back",
        "Each first reset bounces; ha-scopes gives the bounced primary its service at once; the second ones hold.",
        (*SKEWED, RESET_B, BEAT, RESET_B, BEAT, RESET_A, SCOPES, Serve(20, 1), BEAT, RESET_A, HEALTHY, Serve(20, 1)),
        BRISK,
    ),
    Script(
        "cover, step by step",
        "b steps aside; a finds it gone and forgets its clock, serves alone, and takes b back after a sync.",
        (
            *SKEWED,
            Configure("b", "aside"),
            FORGET,
            RESET_A,
            MAINTENANCE,
            Serve(20, 1),
            BEAT,
            Configure("b", "full"),
            HEALTHY,
            Serve(20, 1),
        ),
        BRISK,
        versions=COUNTING,
    ),
    Script(
        "cover on 2.2",
        "2.2 forgets no clock: the reset bounces, maintenance is refused, and ha-scopes gives the service back.",
        (*SKEWED, Configure("b", "aside"), FORGET, RESET_A, MAINTENANCE, SCOPES, Serve(20, 1), BEAT),
        BRISK,
        versions=("2.2",),
    ),
    Script(
        "a stranger, step by step",
        "b knows a by another name and has no lease commands: what a orders is refused, nothing is fetched, and a serves alone.",
        (
            *SKEWED,
            Configure("b", "closed"),
            FORGET,
            RESET_A,
            MAINTENANCE,
            SCOPES,
            Serve(20, 1),
            Configure("b", "estranged"),
            *COMES_BACK,
            Serve(20, 1),
        ),
        BRISK,
        versions=COUNTING,
    ),
    Script(
        "a stranger at work on leases",
        "Estranged from a primary at work, b refuses no lease update, and maintenance finds it as good as gone.",
        (
            *START,
            Serve(20, 1),
            Configure("b", "estranged"),
            Serve(20, 1),
            MAINTENANCE,
            *COMES_BACK,
            Serve(20, 1),
        ),
        BRISK,
        versions=COUNTING,
    ),
    Script(
        "aside and back while the primary serves alone",
        "Beside a primary in partner-down a standby that stepped aside is ready without a sync and stays so.",
        (
            *START,
            Kill("b"),
            Wait("partner-down", "down"),
            Start("b"),
            Configure("b", "aside"),
            *COMES_BACK,
            Pass(2.5),
            Serve(20, 1),
        ),
        BRISK,
    ),
)
