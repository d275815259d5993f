"""
What can be in the way of a pair or of keawatch: a full disk, a taken port, an HTTP server that misbehaves, an old certificate.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.kea_pair.lab import Lab, LabError, Node, Pair
from tests.kea_pair.net import ipv4, run
from tests.kea_pair.watching import Keawatch, Post, Wish

DISK = "1m"
FILLER = "filler"
TAKEN = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(({!r}, 67)); time.sleep(600)"
RELAY_PORT = 7001
Around = Callable[[Lab, Pair], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    place = str(folder.resolve())
    run("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0750", "keawatch-lab", place)
    try:
        yield
    finally:
        # Whoever still writes there is ended with the laboratory.
        run("umount", "-l", place)


def small_journal(lab: Lab, pair: Pair) -> contextlib.AbstractContextManager[None]:
    """Have keawatch's journal on a small disk of its own."""
    del pair
    return _small_disk(lab.folder / "keawatch" / "state")


def small_leases(name: str) -> Around:
    """Return what has a server's lease file on a small disk of its own."""

    def around(lab: Lab, pair: Pair) -> contextlib.AbstractContextManager[None]:
        del lab
        node = next(node for node in pair.nodes if node.name == name)
        return _small_disk(node.home / "data")

    return around


@contextlib.contextmanager
def silent_ports(lab: Lab, pair: Pair) -> Iterator[None]:
    """Let closed ports of both servers' hosts answer nothing, as pfSense's do."""
    del lab
    with pair.silent_when_closed(pair.primary), pair.silent_when_closed(pair.standby):
        yield


def fill(folder: Path) -> None:
    """Leave no room on the disk of a folder."""
    with (folder / FILLER).open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))


def make_room(folder: Path) -> None:
    """Take away what fills the disk."""
    (folder / FILLER).unlink()


@contextlib.contextmanager
def port_taken(lab: Lab, node: Node) -> Iterator[None]:
    """Take the DHCPv4 server's port on its host, as a second DHCP server there does."""
    taker = lab.popen(node.name, [sys.executable, "-c", TAKEN.format(ipv4(node.name))])
    time.sleep(1.0)
    try:
        yield
    finally:
        taker.kill()
        taker.wait()


class Relayed(Keawatch):
    """keawatch that asks the standby over HTTP, through a relay that can misbehave."""

    def __init__(self, lab: Lab, pair: Pair, wish: Wish | None = None) -> None:
        super().__init__(lab, pair, wish)
        self.misbehave("")
        relay = [sys.executable, "-m", "tests.chaos.relay", str(RELAY_PORT), pair.standby.agent_url, str(self._how)]
        with (lab.folder / "relay.log").open("w") as log:
            lab.popen("w", relay, log)

    def configure(self, wish: Wish) -> None:
        """Write the configuration file."""
        super().configure(wish)
        socket = f'socket = "{self.pair.standby.socket_path}"'
        text = self.config.read_text()
        self.config.write_text(text.replace(socket, f'url = "http://127.0.0.1:{RELAY_PORT}/"'))

    def misbehave(self, how: str) -> None:
        """Have the relay answer "garbage", "slow" or "never"; an empty word means that it passes everything on."""
        fresh = self._how.with_suffix(".new")
        fresh.write_text(how)
        fresh.rename(self._how)

    @property
    def _how(self) -> Path:
        return self.folder / "relay"


class Encrypted(Keawatch):
    """keawatch that asks both servers over TLS, by Kea 3's own HTTP sockets."""

    def configure(self, wish: Wish) -> None:
        """Write the configuration file."""
        super().configure(wish)
        text = self.config.read_text()
        for node in self.pair.nodes:
            url = f'url = "{node.http_url}"\nca_file = "{self.lab.folder}/ca.pem"'
            text = text.replace(f'socket = "{node.socket_path}"', url)
        self.config.write_text(text)


def expire(lab: Lab, node: Node) -> Path:
    """Give a server a certificate that has expired, and return a copy of the one it had; it is read at its next start."""
    kept = node.home / "cert.kept"
    (node.home / "cert.pem").rename(kept)
    folder = lab.folder
    (folder / "index").touch()
    (folder / "openssl.cnf").write_text(
        f"[ca]\ndefault_ca = own\n[own]\ndatabase = {folder}/index\nnew_certs_dir = {folder}\nserial = {folder}/serial\n"
        f"default_md = sha256\npolicy = any\ncopy_extensions = copy\n[any]\ncommonName = supplied\n"
    )
    request = ["-key", f"{node.home}/key.pem", "-out", f"{folder}/request.pem", "-subj", f"/CN={node.name}"]
    run("openssl", "req", "-new", *request, "-addext", f"subjectAltName=IP:{ipv4(node.name)}")
    dates = ["-startdate", "20240101000000Z", "-enddate", "20240201000000Z"]
    signer = ["-cert", f"{folder}/ca.pem", "-keyfile", f"{folder}/ca.key", "-create_serial", "-batch", "-notext"]
    files = ["-in", f"{folder}/request.pem", "-out", f"{node.home}/cert.pem"]
    run("openssl", "ca", "-config", f"{folder}/openssl.cnf", *dates, *signer, *files)
    return kept


class Second(Keawatch):
    """A second keawatch beside the first, which knows nothing of it."""

    def __init__(self, lab: Lab, pair: Pair, wish: Wish | None = None) -> None:
        super().__init__(lab, pair, wish, post=Post("keawatch-2", "127.0.0.1:9746"))


@contextlib.contextmanager
def far_away(lab: Lab, pair: Pair, *, delay: float, loss: float) -> Iterator[None]:
    """Put a relay of frames between the standby and the bridge that delays or drops what passes between the servers."""
    network, host = pair.network, pair.standby.name
    for each in ("a", "b", "c", "w"):
        run(*network.enter(each, [sys.executable, "-m", "tests.chaos.far", "plain", "eth0"]))
    network.ip("s", "link", "set", f"port-{host}", "nomaster")
    network.ip("s", "link", "add", "near", "type", "veth", "peer", "name", "far")
    network.ip("s", "link", "set", "near", "master", "br0")
    for end in ("near", "far"):
        network.ip("s", "link", "set", end, "up")
    program = [sys.executable, "-m", "tests.chaos.far", "far", f"port-{host}", str(delay), str(loss)]
    with (lab.folder / "far.log").open("w") as log:
        relay = lab.popen("s", program, log)
    try:
        yield
        if relay.poll() is not None:
            raise LabError("the relay of frames ended: " + (lab.folder / "far.log").read_text())
    finally:
        relay.kill()
        relay.wait()
        network.ip("s", "link", "del", "near")
        network.ip("s", "link", "set", f"port-{host}", "master", "br0")
