"""Debian's Prometheus, scraping keawatch through a healing of a real pair, sees it terminate and come back."""

import json
import shutil
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from tests.kea_pair import tools
from tests.kea_pair.lab import Lab, LabError, PairSpec
from tests.kea_pair.watching import Keawatch, Wish

SCRAPING = """
global: {scrape_interval: 250ms, scrape_timeout: 250ms}
scrape_configs:
  - job_name: keawatch
    static_configs: [{targets: ["127.0.0.1:9745"]}]
"""


class Prometheus:
    """A Prometheus on the watcher host."""

    def __init__(self, lab: Lab) -> None:
        if reason := tools.ensure():
            pytest.fail(f"Prometheus can't be had here: {reason}")
        self.lab = lab
        self.folder = lab.folder / "prometheus"
        self.folder.mkdir()
        (self.folder / "prometheus.yml").write_text(SCRAPING)
        command = [
            _program("prometheus"),
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            "--web.listen-address=127.0.0.1:9090",
        ]
        with (self.folder / "log").open("w") as log:
            self.process = lab.popen("w", command, log)

    def ask(self, path: str, **query: str) -> Any:
        """Return what its HTTP API answers."""
        url = f"http://127.0.0.1:9090/api/v1/{path}?{urllib.parse.urlencode(query)}"
        code = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"
        return json.loads(self.lab.run_in("w", ["python3", "-c", code, url]))["data"]

    def scraped(self) -> list[str]:
        """Return what it knows of the primary being terminated; nothing while it starts."""
        try:
            return self.values('keawatch_ha_state{server="a",state="terminated"}', 60)
        except LabError:
            return []

    def values(self, metric: str, seconds: int) -> list[str]:
        """Return the values a metric has had over the last seconds, repeated ones once."""
        result = self.ask("query", query=f"{metric}[{seconds}s]")["result"]
        seen: list[str] = []
        for _, value in result[0]["values"] if result else []:
            if not seen or seen[-1] != value:
                seen.append(value)
        return seen


def _program(name: str) -> str:
    return shutil.which(name) or str(Path(sys.executable).parent / name)


def test_prometheus_sees_terminated_go_0_1_0_and_a_healing_counted(lab: Lab) -> None:
    pair = lab.pair(PairSpec(version="2.6", heartbeat_delay=1.0, max_response_delay=6.0, faketime=frozenset({"b"})))
    pair.start()
    pair.wait_normal()
    watch = Keawatch(lab, pair, Wish(interval=0.5))
    watch.start()
    watch.wait_for("OK", 20)
    prometheus = Prometheus(lab)
    begun = time.monotonic()
    while prometheus.scraped() != ["0"]:
        assert time.monotonic() < begun + 30, "Prometheus does not scrape keawatch"
        time.sleep(0.3)
    pair.standby.skew(90)
    pair.wait_states("terminated", "terminated", 20)
    time.sleep(2.0)
    pair.standby.skew(0)
    watch.wait_for("OK", 40)
    time.sleep(2.0)
    span = int(time.monotonic() - begun) + 30
    for server in "ab":
        metric = f'keawatch_ha_state{{server="{server}",state="terminated"}}'
        assert prometheus.values(metric, span) == ["0", "1", "0"]
    healings = prometheus.ask("query", query='sum(keawatch_healings_total{result="ok"})')["result"]
    assert healings[0]["value"][1] == "1"
    serving = prometheus.ask("query", query="keawatch_pair_serving")["result"]
    assert serving[0]["value"][1] == "1"
