"""
Plays scripts to a pair of real Kea in the laboratory.
"""

import contextlib
import time
from typing import Any

from keawatch.sim import story
from keawatch.sim.answers import Json
from keawatch.sim.drivers import NO_REPLY
from keawatch.sim.settings import PairSpec as SimSpec
from keawatch.sim.story import Action, Outcome, Script, View, judge_service, read_view, variant
from tests.chaos.obstacles import fill, make_room
from tests.kea_pair.lab import NARROW4, NARROW6, WIDE4, WIDE6, KeaSilentError, Node, Pair, PairSpec, Subnet

LOOK_SECONDS = 1.0
NARROW = {4: NARROW4, 6: NARROW6}
WIDE = {4: WIDE4, 6: WIDE6}


def lab_spec(script: Script, version: str, family: int) -> PairSpec:
    """
    Return the laboratory's spec of the pair that a script wants.
    """
    spec: SimSpec = script.spec
    skewed = {action.server for action in script.steps if isinstance(action, story.Skew)}
    return PairSpec(
        version=version,
        service=family,
        mode=spec.mode,
        heartbeat_delay=spec.heartbeat_delay,
        max_response_delay=spec.max_response_delay,
        max_ack_delay=spec.max_ack_delay,
        max_unacked_clients=spec.max_unacked_clients,
        pause_standby_in_ready=spec.pause_standby_in_ready,
        faketime=frozenset(skewed),
        http_listener_threads=1,
        http_client_threads=1,
        thread_pool_size=1,
    )


class RealDriver:
    """
    A pair of real Kea.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self._recorded: dict[str, Json] = {}

    def perform(self, action: Action) -> Outcome:
        """
        Do something to the pair.
        """
        match action:
            case story.Command(server, name, arguments):
                return self._command(server, name, arguments)
            case story.Configure(server, name):
                return self._command(server, "config-set", self._variant(server, name))
            case story.Serve(rate, seconds, clients):
                return self._serve(rate, seconds, clients)
            case story.Pass(seconds):
                time.sleep(seconds)
            case story.Wait(a, b, timeout):
                self.pair.wait_states(a, b, timeout)
            case _:
                self._befall(action)
        return Outcome()

    def look(self, server: str) -> View:
        """
        Look at a server.
        """
        try:
            return read_view(self._node(server).command("status-get", timeout=LOOK_SECONDS)["arguments"])
        except KeaSilentError:
            return read_view(None)

    def _befall(self, action: Action) -> None:
        match action:
            case story.StartPair():
                self.pair.start()
            case story.Skew(server, seconds):
                self._node(server).skew(seconds)
            case _ if isinstance(action, story.OfOneServer):
                self._befall_one(action, self._node(action.server))
            case _:
                self._befall_both(action)

    def _befall_one(self, action: story.OfOneServer, node: Node) -> None:
        match action:
            case story.Kill():
                node.kill()
            case story.Start():
                node.start()
            case story.Freeze():
                node.freeze()
            case story.Thaw():
                node.thaw()
            case story.FillDisk():
                self._fill(node)
            case story.MakeRoom():
                make_room(node.home / "data")

    def _fill(self, node: Node) -> None:
        fill(node.home / "data")
        # There is room for some leases more in what the lease file has of its last page.
        self.pair.clients().run(60, 1, clients=1000, extra=("-b", "mac=00:0c:0a:00:00:01"))

    def _befall_both(self, action: Action) -> None:
        family = self.pair.spec.service
        match action:
            case story.Cut():
                self.pair.cut(abort=True)
            case story.Mend():
                self.pair.mend()
            case story.BreakSubnets():
                self._set_subnet(NARROW[family])
            case story.MendSubnets():
                self._set_subnet(WIDE[family])
            case _:
                raise AssertionError(action)

    def _set_subnet(self, subnet: Subnet) -> None:
        node = self.pair.standby
        node.subnets = (subnet,)
        node.write_config()
        with contextlib.suppress(KeaSilentError):
            node.command("config-reload")

    def _command(self, server: str, name: str, arguments: Json | None) -> Outcome:
        try:
            reply = self._node(server).command(name, arguments, timeout=30)
        except KeaSilentError:
            return NO_REPLY
        return Outcome(reply["result"], reply.get("text"))

    def _variant(self, server: str, name: str) -> Json:
        if server not in self._recorded:
            self._recorded[server] = self._node(server).command("config-get")["arguments"]
        return variant(self._recorded[server], name)

    def _serve(self, rate: int, seconds: int, clients: int) -> Outcome:
        before = {node.name: self._acks(node) for node in self.pair.nodes}
        seen = self.pair.clients().run(rate, seconds, clients)
        servers = tuple(node.name for node in self.pair.nodes if self._acks(node) > before[node.name])
        return Outcome(service=judge_service(seen.sent, seen.acked), servers=servers)

    def _acks(self, node: Node) -> int:
        name = "pkt4-ack-sent" if self.pair.spec.service == 4 else "pkt6-reply-sent"
        try:
            samples: Any = node.command("statistic-get", {"name": name}).get("arguments", {}).get(name)
        except KeaSilentError:
            return 0
        return int(samples[0][0]) if samples else 0

    def _node(self, server: str) -> Node:
        return self.pair.primary if server == "a" else self.pair.standby
