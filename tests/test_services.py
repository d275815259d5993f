"""The service files start, stop and reload keawatch as each system does it."""

import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from configparser import RawConfigParser
from contextlib import suppress
from pathlib import Path

import pytest

from tests.untested import not_tested

TOP = Path(__file__).parent.parent
UNIT = TOP / "systemd/keawatch.service"
RC = TOP / "rc.d/keawatch"

RC_SUBR = """\
# What FreeBSD's rc.subr does with a script of this kind, and nothing else.
load_rc_config() { [ ! -f "$RC_CONF" ] || . "$RC_CONF"; }

_running() {
    rc_pid=""
    found=""
    [ ! -f "$pidfile" ] || read -r found < "$pidfile"
    [ -z "$found" ] || ! kill -0 "$found" 2>/dev/null || rc_pid=$found
}

run_rc_command() {
    rc_arg=$1
    case "$rc_arg" in
        one*) rc_arg=${rc_arg#one}; eval "$rcvar=YES" ;;
        fast*) rc_arg=${rc_arg#fast} ;;
    esac
    eval "rc_flags=\\$${name}_flags user=\\$${name}_user env=\\$${name}_env enabled=\\$$rcvar"
    _running
    case "$rc_arg:$rc_pid" in
        status:* | stop:?*) ;;
        *) case "$enabled" in [Yy][Ee][Ss]) ;; *) echo "Cannot '$rc_arg' $name."; return 0 ;; esac ;;
    esac
    eval "cmd=\\$${rc_arg}_cmd precmd=\\$${rc_arg}_precmd postcmd=\\$${rc_arg}_postcmd"
    case "$rc_arg" in
        start)
            [ -z "$rc_pid" ] || { echo "$name already running? (pid=$rc_pid)." >&2; return 1; }
            [ -r "$required_files" ] || { echo "$required_files is not readable." >&2; return 1; } ;;
        restart)
            (run_rc_command onestop); (run_rc_command onestart); return ;;
    esac
    [ -z "$precmd" ] || eval "$precmd" || return 1
    if [ -n "$cmd" ]; then eval "$cmd" || return 1
    else
        case "$rc_arg" in
            start) echo "Starting $name."; eval "${env:+env $env} $command $rc_flags $command_args" || return 1 ;;
            status)
                [ -n "$rc_pid" ] || { echo "$name is not running."; return 1; }
                echo "$name is running as pid $rc_pid." ;;
            *) case " $extra_commands " in *" $rc_arg "*) ;; *) echo "unknown $rc_arg" >&2; return 1 ;; esac ;;
        esac
    fi
    [ -z "$postcmd" ] || eval "$postcmd"
}
"""

DAEMON = """\
#!{python}
'''What FreeBSD's daemon(8) does: detaches, keeps its child running, passes SIGTERM on.'''
import getopt, os, pathlib, signal, subprocess, sys
options, command = getopt.getopt(sys.argv[1:], "cfP:p:rR:ST:")
options = dict(options)
assert {{"-f", "-r", "-S"}} <= set(options) and options["-T"] == "keawatch", options
reader, writer = os.pipe()
if os.fork():
    os.close(writer)
    os.read(reader, 1)
    os._exit(0)
os.setsid()
null = os.open(os.devnull, os.O_RDWR)
for number in (0, 1, 2):
    os.dup2(null, number)
supervisor, childs = pathlib.Path(options["-P"]), pathlib.Path(options["-p"])
supervisor.write_text(str(os.getpid()))
def note(pid):
    with open("{pids}", "a") as pids:
        print(pid, file=pids)
note(os.getpid())
# Waited for, not handled: a handler may miss a signal that comes just before a wait.
signals = {{signal.SIGCHLD, signal.SIGTERM}}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
ending = False
while not ending:
    child = subprocess.Popen(command)
    note(child.pid)
    childs.write_text(str(child.pid))
    if writer is not None:
        os.close(writer)
        writer = None
    while child.poll() is None:
        if signal.sigwait(signals) == signal.SIGTERM:
            ending = True
            child.send_signal(signal.SIGTERM)
supervisor.unlink()
childs.unlink()
"""

KEAWATCH = """\
#!{python}
'''A keawatch that tells what happens to it.'''
import os, pathlib, signal, sys
def tell(what):
    with open("{events}", "w") as events:
        events.write(what + "\\n")
config = pathlib.Path(sys.argv[sys.argv.index("-c") + 1])
if "--check" in sys.argv:
    broken = "broken" in config.read_text()
    sys.stderr.write(f"keawatch: {{config}}:1: it is broken\\n" if broken else "")
    sys.exit(2 if broken else 0)
signals = {{signal.SIGHUP, signal.SIGTERM}}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
pathlib.Path(os.environ["KEAWATCH_HEARTBEAT"]).touch()
tell("started " + " ".join(sys.argv[1:]))
while True:
    if signal.sigwait(signals) == signal.SIGHUP:
        tell("reloaded")
    elif "stubborn" not in config.read_text():
        tell("stopped")
        sys.exit(0)
"""


class Host:
    """A host with FreeBSD's rc in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.state_dir = folder / "state"
        self.config = folder / "config.toml"
        self.config.write_text("fine")
        self.rc_conf = folder / "rc.conf"
        events = folder / "events"
        os.mkfifo(events)
        # Open for reading and writing, so that neither side ever waits for the other to open it.
        self._events = os.open(events, os.O_RDWR)
        self._heard = ""
        self.script = self._install(RC.read_text(), "keawatch")
        self._install(DAEMON.format(python=sys.executable, pids=folder / "pids"), "daemon")
        self._install(KEAWATCH.format(python=sys.executable, events=events), "bin-keawatch")
        (folder / "rc.subr").write_text(RC_SUBR)
        self.set(keawatch_enable="YES")

    def _install(self, text: str, name: str) -> Path:
        places = {
            "/etc/rc.subr": "rc.subr",
            "/usr/sbin/daemon": "daemon",
            "/var/run/keawatch": "run",
        }
        for place, ours in places.items():
            text = text.replace(place, str(self.folder / ours))
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def set(self, **settings: str) -> None:
        """Write rc.conf."""
        both = {
            "keawatch_config": str(self.config),
            "keawatch_bin": str(self.folder / "bin-keawatch"),
            "keawatch_user": pwd.getpwuid(os.geteuid()).pw_name if os.geteuid() == 0 else "root",
            "keawatch_state_dir": str(self.state_dir),
        } | settings
        self.rc_conf.write_text("".join(f'{key}="{value}"\n' for key, value in both.items()))

    def run(self, verb: str, script: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(script or self.script), verb],
            env={"PATH": os.environ["PATH"], "RC_CONF": str(self.rc_conf)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def next_event(self) -> str:
        """Wait for what keawatch tells next."""
        while "\n" not in self._heard:
            assert select.select([self._events], [], [], 10.0)[0], "keawatch tells nothing"
            self._heard += os.read(self._events, 4096).decode()
        event, _, self._heard = self._heard.partition("\n")
        return event

    def close(self) -> None:
        """End whatever a failed test has left; those that noted themselves are ours."""
        pids = self.folder / "pids"
        for pid in pids.read_text().split() if pids.exists() else ():
            with suppress(OSError):
                if str(self.folder) in Path("/proc", pid, "cmdline").read_text():
                    os.kill(int(pid), signal.SIGKILL)
        os.close(self._events)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    if os.geteuid() != 0:
        not_tested("THE RC SCRIPT", "it gives its folders an owner, which is root's to do")
    made = Host(tmp_path)
    yield made
    made.close()


class Process:
    """A process to be seen ending."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._handle = os.pidfd_open(pid)

    @property
    def ended(self) -> bool:
        """Return whether it has ended, or does so soon: a kill takes effect a moment later."""
        return bool(select.select([self._handle], [], [], 10.0)[0])


class TestRcScript:
    def pid(self, host: Host, name: str = "keawatch") -> int:
        return int((host.run_dir / f"{name}.pid").read_text())

    def test_starts_keawatch_with_its_configuration_and_flags(self, host: Host) -> None:
        host.set(keawatch_enable="YES", keawatch_flags="--json-log")
        started = host.run("start")

        assert (started.returncode, started.stderr) == (0, "")
        assert host.next_event() == f"started run -c {host.config} --json-log"

    def test_makes_the_folders_that_a_boot_has_emptied(self, host: Host) -> None:
        host.run("start")

        assert (host.run_dir.stat().st_mode & 0o777, host.state_dir.stat().st_mode & 0o777) == (0o750, 0o700)

    def test_starts_nothing_unless_enabled(self, host: Host) -> None:
        host.set()
        host.run("start")

        assert not host.run_dir.exists()

    def test_starts_once_however_often_it_is_told_to(self, host: Host) -> None:
        host.run("start")
        assert host.next_event().startswith("started")
        before = self.pid(host)

        again = host.run("start")

        assert "already running" in again.stderr
        assert self.pid(host) == before

    def test_does_not_start_a_keawatch_that_could_not_read_its_configuration(self, host: Host) -> None:
        host.config.write_text("broken")

        started = host.run("start")

        assert started.returncode == 1
        assert "it is broken" in started.stderr
        assert not (host.run_dir / "supervisor.pid").exists()

    def test_stops_keawatch_and_who_would_restart_it(self, host: Host) -> None:
        host.run("start")
        host.next_event()
        supervisor, child = Process(self.pid(host, "supervisor")), Process(self.pid(host))

        stopped = host.run("stop")

        assert stopped.returncode == 0
        assert host.next_event() == "stopped"
        assert supervisor.ended
        assert child.ended

    def test_kills_what_does_not_stop_in_time(self, host: Host) -> None:
        host.config.write_text("stubborn")
        host.set(keawatch_enable="YES", keawatch_stop_timeout="0")
        host.run("start")
        host.next_event()
        supervisor, child = Process(self.pid(host, "supervisor")), Process(self.pid(host))

        stopped = host.run("stop")

        assert "killing it" in stopped.stdout
        assert supervisor.ended
        assert child.ended

    def test_stops_nothing_without_complaint(self, host: Host) -> None:
        assert host.run("stop").returncode == 0

    def test_reloads_keawatch_itself(self, host: Host) -> None:
        host.run("start")
        host.next_event()
        child = self.pid(host)

        reloaded = host.run("reload")

        assert reloaded.returncode == 0
        assert host.next_event() == "reloaded"
        assert self.pid(host) == child

    def test_reloads_no_broken_configuration(self, host: Host) -> None:
        host.run("start")
        host.next_event()
        host.config.write_text("broken")

        assert host.run("reload").returncode == 1
        host.config.write_text("fine")
        host.run("reload")
        assert host.next_event() == "reloaded"

    def test_restarts(self, host: Host) -> None:
        host.run("start")
        host.next_event()
        before = self.pid(host)

        host.run("restart")

        assert host.next_event() == "stopped"
        assert host.next_event().startswith("started")
        assert self.pid(host) != before

    @pytest.mark.parametrize(("content", "status"), [("fine", 0), ("broken", 1)])
    def test_tests_the_configuration(self, host: Host, content: str, status: int) -> None:
        host.config.write_text(content)

        assert host.run("configtest").returncode == status

    def test_says_whether_keawatch_runs(self, host: Host) -> None:
        assert host.run("status").returncode == 1
        host.run("start")
        host.next_event()

        assert host.run("status").returncode == 0

    def test_says_that_keawatch_hangs(self, host: Host) -> None:
        host.run("start")
        host.next_event()
        os.utime(host.run_dir / "heartbeat", (0, 0))

        status = host.run("status")

        assert status.returncode == 1
        assert "has not finished a round for more than 2 minutes" in status.stdout

    def test_under_pfsenses_name_needs_no_rc_conf(self, host: Host) -> None:
        host.set()
        script = host.folder / "keawatch.sh"
        script.symlink_to("keawatch")

        assert host.run("start", script).returncode == 0
        assert host.next_event().startswith("started")
        assert host.run("stop", script).returncode == 0
        assert host.next_event() == "stopped"


class TestRcText:
    @pytest.mark.parametrize("line", ['name="keawatch"', 'rcvar="keawatch_enable"'])
    def test_has_the_lines_that_opnsense_looks_for(self, line: str) -> None:
        assert line in RC.read_text().splitlines()

    @pytest.mark.parametrize("line", ["# PROVIDE: keawatch", "# REQUIRE: DAEMON NETWORKING", "# KEYWORD: shutdown"])
    def test_has_the_lines_that_rcorder_looks_for(self, line: str) -> None:
        assert line in RC.read_text().splitlines()

    def test_can_be_executed(self) -> None:
        assert os.access(RC, os.X_OK)

    @pytest.mark.parametrize("checker", [["sh", "-n"], ["shellcheck", "-s", "sh"]])
    def test_has_no_mistakes(self, checker: list[str]) -> None:
        checked = subprocess.run([*checker, str(RC)], capture_output=True, text=True, check=False)

        assert (checked.returncode, checked.stdout) == (0, "")


class Unit(RawConfigParser):
    """systemd's own kind of file; of a key given twice, the last counts here."""

    def __init__(self) -> None:
        super().__init__(strict=False, interpolation=None)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.fixture
def service() -> dict[str, str]:
    unit = Unit()
    unit.read(UNIT)
    return dict(unit["Service"])


class TestUnit:
    def test_feeds_the_watchdog_that_it_sets(self, service: dict[str, str]) -> None:
        assert (service["Type"], service["WatchdogSec"]) == ("notify", "30")

    def test_does_not_restart_into_the_same_wrong_configuration(self, service: dict[str, str]) -> None:
        assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")

    def test_keeps_its_state_where_the_configuration_looks_by_default(self, service: dict[str, str]) -> None:
        from keawatch.config import STATE_DIR  # noqa: PLC0415

        if not sys.platform.startswith("freebsd"):
            assert f"/var/lib/{service['StateDirectory']}" == str(STATE_DIR)

    def test_may_speak_to_kea_and_nothing_else(self, service: dict[str, str]) -> None:
        assert service["RestrictAddressFamilies"].split() == ["AF_UNIX", "AF_INET", "AF_INET6"]
        assert service["CapabilityBoundingSet"] == ""

    @pytest.fixture
    def analyze(self, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
        def run(*arguments: str, drop_in: str = "") -> subprocess.CompletedProcess[str]:
            path = tmp_path / "keawatch.service"
            # The program is not installed where the tests run.
            path.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()) + drop_in)
            command = ["systemd-analyze", *arguments, str(path)]
            return subprocess.run(command, capture_output=True, text=True, check=False)

        if shutil.which("systemd-analyze") is None:
            # A container of Debian's has no systemd, and nothing else here asks for it.
            not_tested("THE SYSTEMD UNIT", "systemd-analyze is missing; install systemd", may=True)
        return run

    @pytest.mark.parametrize(
        "drop_in",
        [
            "",
            "[Service]\nUser=kea\nGroup=kea\n",
            "[Service]\nDynamicUser=yes\nUser=\nGroup=\n",
            "[Service]\nDynamicUser=yes\nUser=keawatch\nGroup=\nSupplementaryGroups=_kea\n",
        ],
    )
    def test_is_understood_by_systemd(
        self, analyze: Callable[..., subprocess.CompletedProcess[str]], drop_in: str
    ) -> None:
        # The manual pages it names come with Kea, which need not be installed here.
        verified = analyze("verify", "--man=no", drop_in=drop_in)

        assert (verified.returncode, verified.stderr) == (0, "")

    def test_leaves_little_open(self, analyze: Callable[..., subprocess.CompletedProcess[str]]) -> None:
        exposure = analyze("security", "--offline=yes", "--no-pager")
        found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", exposure.stdout)

        assert found
        assert float(found[1]) <= 2.0
