"""
Explains every diagnosis and every HA state to the person who has to live with it.

Texts only: what it means, who is served, what Kea does next by itself, what keawatch does, what a person can do. docs/kea.md
names the source behind each claim about Kea; docs/runbook.md says the same at length, with the commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from keawatch.core.codes import Code
from keawatch.core.model import HaState


@dataclass(frozen=True, slots=True)
class Explanation:
    """What there is to know about one word; each text is at most three sentences."""

    title: str
    meaning: str
    """What it means, and whether it is normal."""
    served: str
    """Who gets an answer meanwhile."""
    kea_next: str
    """What Kea does by itself, and when."""
    keawatch_does: str
    you_can: str


_TERMINATED_SERVED = (
    "In hot-standby the primary answers all clients and the standby none; in load-balancing each server answers its half. "
    "No lease is copied and nothing takes over, so the next failure is an outage."
)
_TERMINATED_NEXT = (
    "Nothing: a terminated server sends no heartbeats and never leaves this state. Kea's manual asks for a restart; "
    "ha-reset works as well, but judges by what the server remembers from the moment of termination "
    "(ha_service.cc, waitingStateHandler), so it may answer success and be terminated again at once."
)
_HEALS = (
    "Heals by the first of the allowed strategies that is possible here: cover costs one sync and at most one heartbeat of "
    "service, reset two to three heartbeats. After each step the state is read again, whatever the reply said."
)
_WATCHES = "Watches and says so; no command of its own would help."


_CODES: Mapping[Code, Explanation] = {
    Code.OK: Explanation(
        title="the pair works, and either server can take over",
        meaning="Normal: both servers are in the working state of their mode and the right one serves. It is judged by state, "
        "scopes and dhcp-state together; whether the lease databases are alike is compared beside it, and else LEASES_DIVERGED "
        "is said.",
        served="In hot-standby the primary answers all clients; in load-balancing each server answers its half. In "
        "passive-backup one server answers, and nothing takes over by itself.",
        kea_next="It exchanges a heartbeat every heartbeat-delay (default 10 s) and copies every lease before the client "
        "gets its answer. It never looks again whether the copy is there.",
        keawatch_does="Watches, compares the leases on every occasion on which some may have been lost, and keeps the upkeep of the "
        "schedule: reclaim, compare, make alike.",
        you_can="Leave it alone. A nightly ha-sync is not needed and costs service.",
    ),
    Code.BACKUP_SILENT: Explanation(
        title="a backup server gives no answer",
        meaning="A server of the role backup, which gets the pair's lease updates and serves nobody, has been silent for a minute, "
        "or says that it is no backup server. Neither service nor failover depends on it.",
        served="Everybody, as before.",
        kea_next="It goes on sending each update once and waits for no answer (ha_service.cc, asyncSendLeaseUpdate). What the "
        "backup server misses meanwhile is never sent again, and it never syncs by itself.",
        keawatch_does="Says so, and brings it up to date when it is back: BACKUP_BEHIND.",
        you_can="Start it, or look at the address in [[pair.backup]]; `keawatch doctor` tells which part fails.",
    ),
    Code.BACKUP_BEHIND: Explanation(
        title="a backup server lacks leases, or holds others than the primary",
        meaning="Its leases were compared with the primary's, and differ; or its number of leases does, where they can't be listed. "
        "It happens whenever a backup server was down or out of reach for a moment.",
        served="Everybody, as before. Should both servers of the pair be lost, the backup server knows nothing of what it lacks.",
        kea_next="Nothing: a backup server never syncs by itself, and a lost update is not sent again. A client's next renewal "
        "brings that one lease.",
        keawatch_does="Makes its leases those of the primary, lease by lease and without a pause, once the pair's own are alike. Where "
        "lease commands do not reach it, a person is asked for an ha-sync, from the standby, with its pause announced.",
        you_can="Wait, or run `keawatch heal`; `keawatch undo` with the run's name puts its records back.",
    ),
    Code.POOL_PRESSURE: Explanation(
        title="a subnet has, or will soon have, no address left for a new client",
        meaning="At least 95 % of its addresses are leased, or 75 % and the rest will be within two hours at the last hour's rate. "
        "A full pool looks to its clients like a broken pair. Pools of fewer than ten addresses are not told of.",
        served="Every client that has a lease. A new one gets no answer once the last address is gone.",
        kea_next="It gives a new client an address whose lease has run out, if there is one, and else logs "
        "ALLOC_ENGINE_V4_ALLOC_FAIL and stays silent.",
        keawatch_does="Says so, by Kea's own count (stat-lease4-get), with the rate and the share of clients that make up their hardware "
        "address, each of which takes an address of its own. No command cures it.",
        you_can="Make the pool larger, or valid-lifetime shorter; in both servers' configurations alike.",
    ),
    Code.SETTLING: Explanation(
        title="the pair is on its way by itself",
        meaning="Normal after a start, a reload or a failover: one server or both are between two states. It becomes another "
        "diagnosis when it takes longer than Kea's own timers explain.",
        served="Whoever the sentence names. A server in waiting, syncing or ready answers nobody.",
        kea_next="After a start of both: waiting, syncing, ready and the working state, within about three heartbeats and "
        "the time of a sync. A server steps from state to state only at a heartbeat.",
        keawatch_does="Waits; it never pushes a pair that moves by itself.",
        you_can="Wait a minute, and look again with `keawatch status`.",
    ),
    Code.CLOCK_SKEW: Explanation(
        title="the servers' clocks drift apart",
        meaning="Not normal: the clocks differ by more than 30 s, by keawatch's own reading of both servers' ha-heartbeat. "
        "Above 60 s Kea terminates HA (communication_state.cc), and not at 90 s as some manuals say.",
        served="Everybody, as before.",
        kea_next="It logs a warning above 30 s, at most once a minute, and goes to terminated above 60 s.",
        keawatch_does="Warns, and heals no terminated pair while it lasts: it would only terminate again.",
        you_can="Set both clocks right and mend the time service (NTP) on both hosts; `keawatch status` shows the difference.",
    ),
    Code.REJECTS_NEAR_LIMIT: Explanation(
        title="rejected lease updates will soon terminate the pair",
        meaning="Not normal: Kea counts each client whose lease update the partner refused (result 4) until that client's next update "
        "gets through, for a day at most, and terminates HA at max-rejected-lease-updates of them, default 10 (communication_state.cc). "
        "It tells the count nowhere; keawatch counts by the logs, and asks the partner who has got through since.",
        served="Everybody but the clients whose updates are refused: each gets no answer that time.",
        kea_next="At the limit both servers terminate HA, within a heartbeat.",
        keawatch_does="Warns, and names the clients. With `prevent = true`, and if all were busy, it makes the server forget them before the "
        "limit, by a moment in partner-down, once per `prevent_every`.",
        you_can="Remove the cause: CONFLICTS_BUSY or CONFLICTS_SUBNET says which it is. A higher max-rejected-lease-updates only puts it off.",
    ),
    Code.CONFLICTS_BUSY: Explanation(
        title="lease updates meet one another at one address",
        meaning="Not normal: two updates for one address were under way at once, and the receiver takes only one (ResourceBusy; "
        "lease_cmds.cc, tryLock). It comes of a client that is heard twice, by two relays or a bridged network, or of a tool that writes leases. "
        "It is no stale or doubled lease.",
        served="Everybody, but a client whose update was refused gets no answer that time, and asks again.",
        kea_next="It counts the client as rejected until its next update gets through.",
        keawatch_does="Names the clients and the count. A resync cures nothing here, and none is made.",
        you_can="On Kea 2.x set http-listener-threads to 1 in multi-threading of the HA hook on both servers: the updates then come one after "
        "the other (docs/kea.md has the figures). Look for packets that arrive twice.",
    ),
    Code.CONFLICTS_SUBNET: Explanation(
        title="one server refuses what the other leases, since their subnets differ",
        meaning="Not normal: a lease update names its subnet's id, and a receiver that has no such subnet, or another prefix under that id, "
        "refuses it (lease_parser.cc).",
        served="Clients of the subnets in question get no answer at all; the others do.",
        kea_next="With DHCPv4 both servers terminate at max-rejected-lease-updates clients; with DHCPv6 nothing: they stay at work and those "
        "clients stay without an answer.",
        keawatch_does="Names both subnets, and heals nothing while they differ: it would only terminate again.",
        you_can="Make subnets and their ids equal in both configuration files, then reload both servers.",
    ),
    Code.NO_ACKS: Explanation(
        title="a server that should serve acknowledges nothing",
        meaning="Not normal: its own counters show requests of clients and no acknowledgement, or no packet at all while its partner "
        "hears clients, though its state is a serving one and its DHCP is on. A Kea 2.x that can't store a lease offers addresses and "
        "then refuses whoever takes one (alloc_engine.cc, allocateLease4).",
        served="Of this server's clients nobody, whatever the state says.",
        kea_next="Nothing by itself, unless it finds its partner gone: then it serves alone after max-response-delay. A full disk it does "
        "not tell its partner, which never takes over; once there is room it goes on.",
        keawatch_does=_WATCHES,
        you_can="Look into both servers' logs for HA_LEASE_UPDATE and LEASE_CMDS lines: Kea answers a client only once its partner has taken "
        "the lease. Compare the subnets of both files. If it refuses everybody, look at the free space on the disk of its lease file.",
    ),
    Code.TERMINATED_SKEW: Explanation(
        title="both servers gave HA up because of their clocks",
        meaning="Not normal: the clocks were more than 60 s apart at a heartbeat, which is Kea's limit (communication_state.cc, "
        "clockSkewShouldTerminate). They may agree by now; the servers remember the skew all the same.",
        served=_TERMINATED_SERVED,
        kea_next=_TERMINATED_NEXT,
        keawatch_does="Holds back while the clocks differ by more than 30 s, then heals. Healing includes making the servers "
        "forget the old skew, which two plain resets do not.",
        you_can="Set the clocks right on both hosts; keawatch does the rest, or `keawatch heal` where it may not act by itself.",
    ),
    Code.TERMINATED_REJECTS: Explanation(
        title="both servers gave HA up because lease updates were rejected",
        meaning="Not normal: updates of max-rejected-lease-updates different clients (default 10) within a day were refused "
        "with result 4 and not repaired since. The lasting cause is subnets that differ between the two configurations; "
        "ResourceBusy is a lost race for one address at that instant and not a stale lease (lease_cmds.cc, lease4UpdateHandler).",
        served=_TERMINATED_SERVED,
        kea_next=_TERMINATED_NEXT,
        keawatch_does="Names both subnets and holds back while they differ; else heals. If it happens again and again, the "
        "breaker stops it and asks for a person.",
        you_can="Make the subnets and their ids equal and reload both servers. Against ResourceBusy on Kea 2.6 set "
        "http-listener-threads to 1 in the HA multi-threading, and bind Kea to one address an interface.",
    ),
    Code.TERMINATED_UNKNOWN: Explanation(
        title="both servers gave HA up, and why can't be seen any more",
        meaning="Not normal: the clocks and subnets agree as far as they can be read, and what came before was not watched. "
        "It was a clock skew that has passed, or rejected lease updates; Kea terminates for nothing else of its own.",
        served=_TERMINATED_SERVED,
        kea_next=_TERMINATED_NEXT,
        keawatch_does=_HEALS,
        you_can="Look in both Kea logs for HA_HIGH_CLOCK_SKEW_CAUSED_TERMINATION, HA_LEASE_UPDATE_CONFLICT and "
        "HA_LEASE_UPDATE_REJECTS_CAUSED_TERMINATION. Give keawatch the control sockets, so that it can compare subnets.",
    ),
    Code.TERMINATED_ONE_SIDED: Explanation(
        title="one server has terminated, and its partner can't come back",
        meaning="Not normal: usually one of two terminated servers was restarted or reset alone. It waits for a partner "
        "that never leaves terminated.",
        served="A terminated primary goes on serving everybody. If the primary is the one that waits, nobody is served.",
        kea_next="Kea 2.6 and later: after ten minutes the waiting server goes back to terminated. Kea 2.2 and 2.4 wait for ever.",
        keawatch_does=_HEALS + " Where nobody is served, it does not wait out the grace after a start.",
        you_can="Do not reset the serving server alone. Let keawatch do it, or type `keawatch heal`.",
    ),
    Code.SERVICE_LEFT_DISABLED: Explanation(
        title="a server that should serve, or be ready to, was left switched off",
        meaning="Not normal: state and scopes are right, but some origin has switched DHCP off and never on again: a sync that "
        "broke off, an ha-sync while the partner was in partner-down, or a dhcp-disable by hand. Only dhcp-state "
        "(Kea 2.6.2 and later) shows it.",
        served="The clients of that server get no answer, though its HA state looks healthy. Where it is the standby, they get one "
        "until the primary fails.",
        kea_next="It switches itself on when the partner's timer runs out, if one was given, or when its HA machine next "
        "changes state, which clears its own origin (1000) alone: a standby held off by another takes over and serves nobody.",
        keawatch_does="Sends dhcp-enable with exactly the origin that left it off; a plain dhcp-enable clears only the "
        "operator's. It does not overrule a dhcp-disable given by hand, and can't replace a lost lease database.",
        you_can="If the dhcp-disable was yours and is no longer wanted: `keawatch heal`.",
    ),
    Code.NOBODY_SERVING: Explanation(
        title="neither server answers clients",
        meaning="Not normal beyond the first minute after a start of both. Each server is in a state that does not serve, or "
        "has empty scopes.",
        served="Nobody. Clients keep the addresses they have until their leases run out.",
        kea_next="That depends on the states: `keawatch explain` with the state's name tells. Paused servers wait for "
        "ha-continue for ever, and no reply of Kea's shows that a server is paused.",
        keawatch_does="Says what it sees. Where the cause has a diagnosis of its own that can be healed, that one is named "
        "and healed first.",
        you_can="Look at both states with `keawatch status`. If nothing moves for a minute, restart the primary's Kea.",
    ),
    Code.SPLIT_SERVING: Explanation(
        title="both servers serve the same clients",
        meaning="Dangerous: both are in partner-down, or else serve one scope, because they do not hear each other. Each gives "
        "out addresses that the other does not know of.",
        served="Everybody, but one address may be given to two clients.",
        kea_next="When the link is back, one server syncs from the other, and the other goes back to work without syncing; so "
        "one of them may lack the other's leases for good.",
        keawatch_does="Says so, and touches neither server: which one to stop is a person's choice. It compares the leases again and "
        "again, so that ADDRESS_TWICE can name the clients, and makes them alike when both are at work again. Two that are both in "
        "load-balancing do hear each other; there it takes the other's half back from the one that has both (ha-scopes).",
        you_can="Mend the link between the servers first; where that takes long, stop Kea on the standby. Afterwards `keawatch diff` "
        "shows what is left to be made alike.",
    ),
    Code.PARTNER_DOWN: Explanation(
        title="one server is down, the other serves alone",
        meaning="Kea's failover did what it is for; redundancy is lost until the silent server is back.",
        served="Everybody, by the one that is left, if its scopes say so. A standby with auto-failover off serves nobody.",
        kea_next="The server that comes back goes through waiting, syncing and ready by itself. From Kea 2.6 on the serving one "
        "answers nobody from the end of that sync until its next heartbeat, up to 10 s by default (ha_service.cc, "
        "processSyncCompleteNotify).",
        keawatch_does=_WATCHES,
        you_can="Start the server that is down. Do not restart the one that serves.",
    ),
    Code.NOT_TAKEN_OVER: Explanation(
        title="one server is proven dead, and its partner does not serve in its place",
        meaning="Kea waits: a hot-standby primary for the dead server's word on each lease, a standby for clients that go unanswered, a "
        "terminated server for ever. That the other is dead is proven: its own host says so, and its partner does not hear it.",
        served="Nobody in hot-standby; in load-balancing the clients of the dead server wait.",
        kea_next="A primary gives its standby up after max-response-delay (default 60 s). A standby also waits until more than "
        "max-unacked-clients clients have gone unanswered, which on a quiet net never happens; a terminated one does nothing.",
        keawatch_does="With take_over = true it sends ha-maintenance-start to the one that is left, which finds its partner gone and goes to "
        "partner-down at once; a terminated one is reset before. The dead server rejoins by itself when it is back.",
        you_can="Start the server that is dead; or type `keawatch heal` to have the other one serve alone now. Do not do so by hand beside a "
        "server that only hangs: when it wakes it rests for maintenance, for ever.",
    ),
    Code.SERVER_UNREACHABLE: Explanation(
        title="one server does not answer keawatch",
        meaning="Not known whether it is dead: a time-out is no proof. If its partner heard it a moment ago, only keawatch's "
        "way to it is cut.",
        served="Whoever the other server serves. While a dead standby is not yet declared down, a primary in hot-standby or "
        "load-balancing drops every answer, because it waits for the partner's word on each lease.",
        kea_next="If the partner hears nothing either, it goes to partner-down after max-response-delay (default 60 s). A standby "
        "with max-unacked-clients above 0 also waits for that many clients to go unanswered.",
        keawatch_does="Freezes: no plan touches a pair of which one server is silent. The exception is yours to make: with take_over and "
        "a fence command for that server, its partner is told to serve alone once the command has said that it is off.",
        you_can="Type `keawatch doctor`: it asks every address that is configured. Then look at that host's Kea, its control "
        "socket and the firewall.",
    ),
    Code.PARTNER_DOWN_FALSE: Explanation(
        title="a server thinks its partner is down, and it is not",
        meaning="Not normal: one server is in partner-down while the other answers keawatch and is at work. The link between "
        "the two is cut, or works one way only.",
        served="The one in partner-down serves everybody; the other may serve beside it, and then SPLIT_SERVING is said.",
        kea_next="As soon as the other hears of the partner-down it goes to waiting and syncs. Without a link nothing changes.",
        keawatch_does=_WATCHES,
        you_can="Test the HA link in both directions: the peer urls, the firewall, the certificates.",
    ),
    Code.PEER_LINK_BROKEN: Explanation(
        title="the servers do not hear each other",
        meaning="Not normal: both are at work and answer keawatch, but heartbeats between them fail.",
        served="In hot-standby the primary may answer nobody: it copies each lease first, and drops the answer when that "
        "fails (ha_service.cc, asyncSendLeaseUpdates).",
        kea_next="After max-response-delay (default 60 s) a hot-standby primary goes to partner-down and serves alone; the "
        "standby may do so as well, and then both serve.",
        keawatch_does=_WATCHES,
        you_can="Mend the link: cable, firewall, url, certificates. If it can't be mended soon, stop Kea on the standby.",
    ),
    Code.ONE_WAY_LINK: Explanation(
        title="the HA link works in one direction only",
        meaning="Not normal: the server in partner-down can't reach its partner, which hears it well and stays in ready for "
        "ever. No command can mend that.",
        served="Everybody, by the one in partner-down.",
        kea_next="Nothing, until the first server reaches the second.",
        keawatch_does=_WATCHES,
        you_can="From the host of the server in partner-down, test the other's HA url: port, firewall, TLS, basic auth.",
    ),
    Code.STUCK_WAITING: Explanation(
        title="a server waits, and nothing comes",
        meaning="Not normal: it has been in waiting for longer than max-response-delay and two heartbeats. It is paused there, "
        "sees its partner in a state it can't work with, or sends no heartbeats (heartbeat-delay 0).",
        served="Not by this server; by its partner if the sentence says so.",
        kea_next="It leaves waiting when it hears its partner at work, or finds it gone for max-response-delay. Neither happens "
        "while it is paused.",
        keawatch_does=_WATCHES,
        you_can="Compare mode, names and urls in both HA configurations. If one pauses in waiting, send ha-continue to it.",
    ),
    Code.STUCK_SYNCING: Explanation(
        title="a server syncs again and again and never gets done",
        meaning="Not normal: it has been in syncing for longer than sync-timeout and two heartbeats. Each sync fails and is "
        "begun again, for ever.",
        served="Not by this server. Its partner serves, with gaps: each try switches it off for the time of the sync.",
        kea_next="It tries again at each heartbeat (ha_service.cc, syncingStateHandler). It ends only when the cause is mended.",
        keawatch_does=_WATCHES,
        you_can="Look in its log for HA_LEASES_SYNC_FAILED or HA_SYNC_FAILED: lease_cmds missing at the partner, a page too "
        "big for the time (sync-page-limit, sync-timeout), a refused certificate.",
    ),
    Code.STUCK_READY: Explanation(
        title="a server is ready, and is not let in",
        meaning="Not normal: it has all leases and waits to see its partner back at work. The partner does not see it, or it "
        "is configured to pause in ready.",
        served="Everybody, if the partner serves; not by this server.",
        kea_next="It goes to work at the heartbeat after its partner does. A pause ends only with ha-continue.",
        keawatch_does=_WATCHES,
        you_can="Look at the partner's state and at the link from it to here. If it pauses on purpose, check its leases and "
        "send ha-continue.",
    ),
    Code.GATE_HELD: Explanation(
        title="a server is held in ready until its leases are verified",
        meaning="Normal after a rejoin where its configuration pauses it in ready: Kea's own sync can leave leases out and still "
        "report success. Not normal for longer than gate_deadline (600 s), or once its partner is gone.",
        served="Everybody, by the partner. The held server takes over for nobody, whatever becomes of its partner.",
        kea_next="Nothing: it takes the partner's updates, and stays until somebody sends ha-continue; no reply shows that it is paused. "
        "A paused server neither fails over nor terminates.",
        keawatch_does="Compares its leases with the partner's, mends what differs and sends ha-continue. It sends that without having "
        "verified anything when the partner is silent or serves nobody, and when gate_deadline has passed, even while paused.",
        you_can="Wait. Where keawatch may not act by itself, `keawatch heal` does the same; if keawatch is stopped for long, send "
        "ha-continue or take the pause out of Kea's configuration.",
    ),
    Code.LEASES_DIVERGED: Explanation(
        title="the two lease databases are not alike",
        meaning="Not normal, though every status of Kea's may be green: some leases are on one server only, or are not the same. It "
        "comes from a split, a failed update, a standby that started first, a sync that left leases out, or edits by command.",
        served="Everybody, as before. After a failover clients may lose their address, or get one that another client uses.",
        kea_next="Nothing: no server ever compares. A lease that was lost on the way is copied again when its client renews, and a sync "
        "neither deletes nor repairs one with the same time (cltt).",
        keawatch_does="Makes them alike by lease commands while both are at work: the authority's word is written to the other, and what "
        "the other gave out alone is copied to it. It holds back, and asks for a person, above reconcile_cap and where a database "
        "looks as if it had lost leases.",
        you_can="Look with `keawatch diff`, then `keawatch reconcile`; each run is backed up, and `keawatch undo` takes it back. If it "
        "comes back, look for rejected or failed lease updates in both logs.",
    ),
    Code.REJOIN_PAUSE: Explanation(
        title="the standby is back, and the primary waits for its next heartbeat",
        meaning="A primary that serves alone switches itself off when its standby has synced, so that no lease is given out that the "
        "standby would miss, and looks at its standby again at the next heartbeat only.",
        served="No: nobody is, until that heartbeat (heartbeat-delay, 10 s by default).",
        kea_next="At the heartbeat the primary finds its standby ready, goes back to work and serves.",
        keawatch_does="Clears exactly that origin as soon as the standby is ready, and has the standby get what is leased until both "
        "are at work (shorten_rejoin).",
        you_can="Nothing has to be done. A shorter heartbeat-delay makes the pause shorter without keawatch too.",
    ),
    Code.CONFIG_DRIFT: Explanation(
        title="a server runs with sync-leases off until its next restart",
        meaning="The pair was healed by seamless: the standby came back without Kea's own sync, so that the primary was never switched "
        "off, and keawatch wrote it the leases it lacked. Only the running configuration says so, the file on disk does not.",
        served="Yes, as always.",
        kea_next="At its next restart or reload the standby reads its file again and syncs as usual. Should it lose its partner and "
        "rejoin before that, it does so without a sync.",
        keawatch_does="Compares the leases after every rejoin, so that nothing is missing until then, and keeps the recorded configuration.",
        you_can="Nothing has to be done. `keawatch heal` gives the recorded configuration back at once; nobody is served for as long as "
        "that sync takes.",
    ),
    Code.ADDRESS_TWICE: Explanation(
        title="one address was given to two clients",
        meaning="What a split leaves behind: both servers gave the address out while neither heard the other. It passes when "
        "the losing client's lease runs out.",
        served="Both clients were, and they disturb each other for as long as both use the address.",
        kea_next="Nothing that helps: a sync lets the lease with the newer time win, and tells nobody. The losing client keeps the address "
        "until it renews, and is then refused.",
        keawatch_does="Names both clients until the losing lease is over; the authority's lease stays. No command can take an "
        "address from a client.",
        you_can="Make the losing client ask again (renew, unplug, restart it), or wait.",
    ),
    Code.IN_MAINTENANCE: Explanation(
        title="the pair is in maintenance",
        meaning="Normal if somebody ordered it with ha-maintenance-start: one server rests, the other serves all.",
        served="Everybody, by the one in partner-in-maintenance.",
        kea_next="When the resting server is stopped, the other goes to partner-down as soon as it notices. Otherwise it stays like this for ever.",
        keawatch_does="Leaves it alone: a person ordered it.",
        you_can="End it with ha-maintenance-cancel at the server that serves, or stop the resting one until the other is in partner-down and "
        "start it then, which before Kea 3.0 is the way that lasts. A restart may be too fast for the other to notice.",
    ),
    Code.HA_MISSING: Explanation(
        title="a server runs without HA",
        meaning="Not normal: it answers, but the HA hook (libdhcp_ha.so) is not loaded. It knows of no partner.",
        served="It answers every client that reaches it, beside its partner: one address may be given to two clients.",
        kea_next="Nothing. Its partner finds nobody at the HA url and goes to partner-down.",
        keawatch_does=_WATCHES,
        you_can="Restart it on its configuration on disk, or put the hook back. On a firewall see whether an update has "
        "rewritten the configuration.",
    ),
    Code.IDENTITY_CLASH: Explanation(
        title="it is not certain which server is which",
        meaning="Not normal: both call themselves by one name, or a server has another name than keawatch was told. Often the "
        "configuration of one was copied to the other whole.",
        served="Not known.",
        kea_next="Nothing by itself; two servers of one name can't work as a pair.",
        keawatch_does="Freezes: a command might reach the wrong server.",
        you_can="Give each server its own this-server-name; make name, url and socket in keawatch's configuration fit. "
        "`keawatch doctor` shows who answers where.",
    ),
    Code.DEAF: Explanation(
        title="a server is up and hears no client",
        meaning="Not normal: its HA state is fine, but its DHCP sockets failed to open (status-get, sockets). The interface was "
        "not ready at the start, or another program holds the port.",
        served="Not by this server. Its partner does not notice and does not take over.",
        kea_next="Nothing, unless service-sockets-max-retries is set.",
        keawatch_does="Says so; it does not restart Kea.",
        you_can="Restart this server's Kea once the interface is up. See that no old process of it is left.",
    ),
    Code.OBSERVER_BLIND: Explanation(
        title="keawatch sees nothing",
        meaning="Neither server answers keawatch. That is more often keawatch's own network, credentials or rights than two dead servers.",
        served="Not known. Kea does not need keawatch to serve.",
        kea_next="It goes on as if keawatch were not there.",
        keawatch_does="Freezes: what is not known is not safe.",
        you_can="Type `keawatch doctor`: it says of each address why it does not answer.",
    ),
}


_STATES: Mapping[HaState, Explanation] = {
    HaState.HOT_STANDBY: Explanation(
        title="at work, in hot-standby mode",
        meaning="Normal.",
        served="The primary answers all clients. The standby is switched on too, but has no scope and so answers nobody.",
        kea_next="The primary copies each lease before it answers the client. When the partner is not heard for "
        "max-response-delay (default 60 s), it goes to partner-down; a standby may also wait for max-unacked-clients.",
        keawatch_does="Watches.",
        you_can="Compare the leases with `keawatch diff`. To force a full sync of the standby, send ha-reset to the standby. Do not send ha-sync to the primary: "
        "while it runs, neither server answers.",
    ),
    HaState.LOAD_BALANCING: Explanation(
        title="at work, in load-balancing mode",
        meaning="Normal.",
        served="Each server answers its half of the clients.",
        kea_next="Each copies its leases to the other before it answers. When the partner is not heard for max-response-delay "
        "and clients go unanswered, it goes to partner-down.",
        keawatch_does="Watches. Terminated pairs of this mode are healed by cover only.",
        you_can="Give each server's scope pools of its own (client classes), or updates meet at one address.",
    ),
    HaState.PASSIVE_BACKUP: Explanation(
        title="at work alone, with backups",
        meaning="Normal in passive-backup mode.",
        served="Everybody, by this server.",
        kea_next="It copies its leases to the backups. No backup ever takes over by itself.",
        keawatch_does="Watches.",
        you_can="Take over by hand with ha-scopes on a backup if this server is lost.",
    ),
    HaState.BACKUP: Explanation(
        title="a backup that takes copies",
        meaning="Normal for a server with the role backup.",
        served="Not by this server.",
        kea_next="Nothing: it sends no heartbeats and never syncs by itself.",
        keawatch_does="Nothing; backups are not part of the pair it heals.",
        you_can="Fill it with ha-sync sent to the backup, with max-period, at a quiet hour.",
    ),
    HaState.WAITING: Explanation(
        title="waiting to see its partner",
        meaning="Normal for a heartbeat or two after a start, a reload or an ha-reset.",
        served="Not by this server.",
        kea_next="It syncs as soon as it hears a partner at work; of two that wait the primary goes first. Beside a terminated "
        "partner it stays, and from Kea 2.6 on is terminated itself after ten minutes. A partner not heard for "
        "max-response-delay makes it go to partner-down.",
        keawatch_does="Waits; longer than max-response-delay and two heartbeats is STUCK_WAITING.",
        you_can="Wait. If it pauses there by configuration, send ha-continue.",
    ),
    HaState.SYNCING: Explanation(
        title="fetching the partner's leases",
        meaning="Normal after waiting. The sync adds missing and newer leases and deletes none.",
        served="Not by this server, and not by its partner either while the pages are fetched.",
        kea_next="After the sync it is ready; a failed sync is tried again at the next heartbeat, for ever.",
        keawatch_does="Waits; longer than sync-timeout and two heartbeats is STUCK_SYNCING.",
        you_can="Wait. If it never ends, look in its log for HA_LEASES_SYNC_FAILED.",
    ),
    HaState.READY: Explanation(
        title="synced, about to go to work",
        meaning="Normal for a heartbeat or two.",
        served="Not by this server.",
        kea_next="It goes to work when it sees its partner at work; of two that are ready the primary goes first. A partner "
        "in partner-down has to see it ready first.",
        keawatch_does="Waits; longer than four heartbeats is STUCK_READY or ONE_WAY_LINK. A standby that pauses there by configuration "
        "is at the gate: its leases are verified before it is let go (GATE_HELD).",
        you_can="Wait.",
    ),
    HaState.PARTNER_DOWN: Explanation(
        title="serving alone",
        meaning="Normal while the partner is down: this server has taken all clients.",
        served="Everybody, if its scopes name all of them. With auto-failover off a standby serves nobody; and until its "
        "next heartbeat a server just reset may show this state with empty scopes and serve nobody.",
        kea_next="It goes back to work when it sees the partner ready, as a rule without pulling leases itself. From Kea 2.6 on it answers "
        "nobody from the end of the partner's sync until its next heartbeat.",
        keawatch_does="Watches; during its own plans it gives such a server its scopes at once (ha-scopes).",
        you_can="Start the partner. Never send ha-sync to a standby that can't at once become ready: from Kea 2.6 on the "
        "serving server may then switch itself off with no timer.",
    ),
    HaState.COMMUNICATION_RECOVERY: Explanation(
        title="serving without contact, keeping the updates",
        meaning="Normal for a short cut in load-balancing with delayed-updates-limit above 0; other modes never have it.",
        served="Each server answers its half.",
        kea_next="When the link is back it sends the updates it has kept; if they were too many, it syncs from waiting. If the "
        "partner seems dead it goes to partner-down.",
        keawatch_does="Watches.",
        you_can="Mend the link.",
    ),
    HaState.IN_MAINTENANCE: Explanation(
        title="resting for maintenance",
        meaning="Normal if ordered: its partner was told ha-maintenance-start.",
        served="Not by this server.",
        kea_next="Nothing, until it is stopped or the maintenance is cancelled.",
        keawatch_does="Leaves it alone.",
        you_can="Do your work and start it again, or, with Kea 3.0, send ha-maintenance-cancel to its partner.",
    ),
    HaState.PARTNER_IN_MAINTENANCE: Explanation(
        title="serving all while the partner rests",
        meaning="Normal if ordered with ha-maintenance-start at this server.",
        served="Everybody, by this server.",
        kea_next="As soon as the partner is not heard, it goes to partner-down at once instead of after max-response-delay.",
        keawatch_does="Leaves it alone.",
        you_can="End it with ha-maintenance-cancel at this server, or, before Kea 3.0, by a restart of the other.",
    ),
    HaState.TERMINATED: Explanation(
        title="HA given up",
        meaning="Not normal: a clock skew above 60 s, too many rejected lease updates, or a partner that is terminated.",
        served=_TERMINATED_SERVED,
        kea_next=_TERMINATED_NEXT,
        keawatch_does="Finds the cause, waits until it is gone, and heals the pair.",
        you_can="Remove the cause; then let keawatch heal, or type `keawatch heal`.",
    ),
    HaState.UNAVAILABLE: Explanation(
        title="not heard by its partner",
        meaning="Only a server's word about its partner (last-state); no server says it of itself. The last request to the "
        "partner failed.",
        served="Not told by this word: the partner may be alive and serving.",
        kea_next="When that has lasted for max-response-delay (default 60 s), the server goes to partner-down; a standby may "
        "also wait for max-unacked-clients.",
        keawatch_does="Takes it for evidence, never for the truth about the partner.",
        you_can="Test the link between the two servers.",
    ),
}

CODES: tuple[str, ...] = tuple(code.value for code in _CODES)
"""Every diagnosis that can be explained."""

STATES: tuple[str, ...] = tuple(state.value for state in _STATES)
"""Every HA state that can be explained."""


def explain_code(code: str) -> dict[str, str]:
    """Return the explanation of a diagnosis; ValueError for a word that is none."""
    return asdict(_CODES[Code(code)])


def explain_state(state: str) -> dict[str, str]:
    """Return the explanation of an HA state, spelt as Kea spells it; ValueError for a word that is none."""
    return asdict(_STATES[HaState(state)])
