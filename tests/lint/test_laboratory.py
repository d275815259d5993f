"""The laboratory's own configurations, of which real pairs are made every day, are judged rightly."""

import itertools

import pytest

from keawatch.lint import run
from keawatch.lint.model import Severity
from tests.kea_pair.config import NodeConfig, PairSpec, Paths, server_config
from tests.lint.cases import subject

RELEASES = {"2.2": "2.2.0", "2.6": "2.6.3", "3.0": "3.0.4"}
TRUE = {
    "ha-unacked-off",  # max-unacked-clients is 0
    "lfc-off",  # lfc-interval is 0
    "sockets-not-retried",
    "ha-listener-open",  # no TLS, and not restricted before 3.0
    "ha-no-client-certs",  # no TLS
    "ha-listener-threads",  # four, on 2.6
    "ha-pools-not-split",  # one pool in load-balancing
}
"""What is found in them, and is so."""


@pytest.mark.parametrize(
    ("version", "service", "mode"), list(itertools.product(RELEASES, (4, 6), ("hot-standby", "load-balancing")))
)
def test_nothing_wrong_is_found(version: str, service: int, mode: str) -> None:
    spec = PairSpec(version=version, service=service, mode=mode)
    configs = [
        server_config(NodeConfig(name, spec, Paths(f"/kw/lab/{name}", "/usr/lib/kea/hooks"), spec.subnets_of(name)))
        for name in spec.roles
    ]
    found = run.lint([subject(config, RELEASES[version]) for config in configs])
    rules = {finding.rule for finding in found}
    assert rules <= TRUE
    assert not [finding for finding in found if finding.severity is Severity.ERROR]
    assert ("ha-listener-threads" in rules) == (version == "2.6" and service == 4)
    assert ("ha-listener-open" in rules) == (version != "3.0")
    assert ("ha-no-client-certs" in rules) == (version == "3.0")
    assert ("ha-pools-not-split" in rules) == (mode == "load-balancing")
