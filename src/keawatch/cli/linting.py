"""Looks at Kea's configuration: one file, a pair's two, or what both servers run with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from keawatch import __version__
from keawatch.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, PairOption, chosen_pairs, out, print_json
from keawatch.cli.exits import Exit, UsageError
from keawatch.config import PairConfig, ServerConfig, load
from keawatch.core.model import version_of
from keawatch.daemon.clock import now
from keawatch.daemon.doctor import transports_of
from keawatch.errors import DialectError, KeaError, LintError
from keawatch.kea.client import KeaServer, Who
from keawatch.kea.reconfigure import recorded
from keawatch.lint import run
from keawatch.lint.dialect import Document, read
from keawatch.lint.host import interface_addresses
from keawatch.lint.model import Finding, Severity, Subject
from keawatch.lint.output import as_json, as_sarif
from keawatch.lint.trial import installed_version, try_on_kea

_COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}
_KEA_FOLDERS = ("/etc/kea", "/usr/local/etc/kea")
_SECONDS = 15.0

FilesArgument = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[FILE [FILE]]", help="One of Kea's files, or a pair's two; without, the running pair."),
]
CustomOption = Annotated[
    Path | None,
    typer.Option(
        "--custom", metavar="SNIPPET", help="Merge this into the file first, as pfSense's JSON Configuration is."
    ),
]
VersionOption = Annotated[
    str | None, typer.Option("--kea-version", metavar="X.Y.Z", help="The Kea that the files are for.")
]
HereOption = Annotated[
    bool | None,
    typer.Option(
        "--here/--not-here",
        help="The files are this host's: look at its interfaces, ask its Kea. By default so where Kea's own folder holds them.",
    ),
]
SarifOption = Annotated[bool, typer.Option("--sarif", help="One SARIF 2.1.0 document on standard output.")]
RulesOption = Annotated[bool, typer.Option("--rules", help="List the rules, and look at nothing.")]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be looked at."""

    files: Sequence[Path]
    config: Path
    pair: str | None
    custom: Path | None
    version: str | None
    here: bool | None


@dataclass(frozen=True, slots=True)
class Seen:
    """What could be read, and what was found while it was."""

    subjects: Sequence[Subject]
    findings: Sequence[Finding] = ()


def lint(  # noqa: PLR0913 - the options of a command
    files: FilesArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    pair: PairOption = None,
    custom: CustomOption = None,
    kea_version: VersionOption = None,
    *,
    here: HereOption = None,
    json_: JsonOption = False,
    sarif: SarifOption = False,
    rules: RulesOption = False,
) -> None:
    """Look for mistakes in Kea's configuration. Exit status 1 when there is a warning or an error."""
    if rules:
        _show_rules(json_=json_)
        return
    wish = Wish(files or (), config, pair, custom, kea_version, here)
    findings = _findings(wish)
    if sarif:
        print_json(as_sarif(findings, run.ALL_RULES, __version__))
    elif json_:
        print_json(as_json(findings))
    else:
        show(out(), findings)
    grave = any(finding.severity is not Severity.INFO for finding in findings)
    raise typer.Exit(Exit.PROBLEM if grave else Exit.WELL)


def _findings(wish: Wish) -> list[Finding]:
    _check(wish)
    groups = [_of_files(wish)] if wish.files else _of_servers(wish)
    found = [run.ordered([*seen.findings, *run.lint(seen.subjects)], seen.subjects) for seen in groups]
    return [finding for group in found for finding in group]


def _check(wish: Wish) -> None:
    if len(wish.files) > 2:
        raise UsageError("name one file, or the two of a pair")
    if wish.version and version_of(wish.version) is None:
        raise UsageError(f"{wish.version!r} is no version; say 2.6.3")
    if not wish.files and (wish.custom or wish.version or wish.here):
        raise UsageError("--custom, --kea-version and --here are about files: name one")


# --- files


def _of_files(wish: Wish) -> Seen:
    subjects: list[Subject] = []
    findings: list[Finding] = []
    for path in wish.files:
        try:
            seen = _of_file(wish, path)
        except DialectError as error:
            findings.append(run.of_syntax(error))
            continue
        subjects += seen.subjects
        findings += seen.findings
    if len({subject.family for subject in subjects}) > 1:
        raise UsageError("one file is of DHCPv4 and the other of DHCPv6; a pair's two files are of one family")
    return Seen(_told_apart(subjects), findings)


def _told_apart(subjects: list[Subject]) -> list[Subject]:
    """Return them with names that differ, since findings say which server they are about."""
    if len({subject.server for subject in subjects}) == len(subjects):
        return subjects
    return [replace(subject, server=f"{subject.server} ({subject.file})") for subject in subjects]


def _of_file(wish: Wish, path: Path) -> Seen:
    here = wish.here if wish.here is not None else str(path.absolute()).startswith(_KEA_FOLDERS)
    document = read(path)
    subject = run.subject_of(document, str(path), run.Told(version=version_of(wish.version)))
    if here:
        version = subject.version or installed_version(subject.family)
        subject = replace(subject, version=version, addresses=interface_addresses())
    findings: list[Finding] = []
    if wish.custom:
        subject, wrong = run.with_custom(subject, _snippet(wish.custom), str(wish.custom))
        findings += wrong
    if here:
        findings += run.of_kea(subject, try_on_kea(subject.whole.value, subject.family, hooks=True))
    return Seen([subject], findings)


def _snippet(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        return json.loads(text)
    except OSError as error:
        raise LintError(f"{path} can't be read ({error.strerror}); name another file, or run this as root") from None
    except json.JSONDecodeError as error:
        sentence = f"{error.msg} (pfSense's field takes JSON without comments and surplus commas)"
        raise DialectError(str(path), error.lineno, error.colno, sentence) from None
    except RecursionError:
        raise LintError(f"{path}: maps and lists are nested too deep") from None


# --- the running pair


def _of_servers(wish: Wish) -> list[Seen]:
    config = load(wish.config)
    return [asyncio.run(_of_pair(pair)) for pair in chosen_pairs(config, wish.pair)]


async def _of_pair(pair: PairConfig) -> Seen:
    first, second = pair.server
    asked = await asyncio.gather(_ask(pair, first, second), _ask(pair, second, first), return_exceptions=True)
    subjects: list[Subject] = []
    findings: list[Finding] = []
    for server, answer in zip(pair.server, asked, strict=True):
        if isinstance(answer, Subject):
            subjects.append(answer)
        elif isinstance(answer, KeaError | LintError):
            findings.append(run.of_silence(server.name, str(answer)))
        else:
            raise answer
    if not subjects:
        raise KeaError("; ".join(finding.message for finding in findings))
    return Seen(subjects, findings)


async def _ask(pair: PairConfig, server: ServerConfig, partner: ServerConfig) -> Subject:
    kea = KeaServer(Who(server.name, partner.name, pair.service), transports_of(server), now)
    try:
        async with asyncio.timeout(2 * _SECONDS):
            reply = await kea.read("config-get", deadline=_SECONDS)
            await kea.refresh_facts(_SECONDS)
    except TimeoutError:
        raise KeaError(f"{server.name} did not show its configuration within {2 * _SECONDS:.0f} s") from None
    finally:
        await kea.aclose()
    # The socket is a file, so its server is on this host.
    addresses = interface_addresses() if server.socket else None
    told = run.Told(server.name, version_of(kea.facts.version), addresses)
    return run.subject_of(Document(recorded(reply.arguments)), None, told)


# --- what is shown


def show(console: Console, findings: Sequence[Finding]) -> None:
    """Show findings to a person: what, where, why, and what to write."""
    table = Table(box=box.SIMPLE_HEAD, header_style="dim", show_lines=True)
    table.add_column("severity", no_wrap=True)
    table.add_column("server", overflow="fold")
    table.add_column("finding", overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.severity, _COLOURS[finding.severity]), Text(finding.server), _told(finding))
    if findings:
        console.print(table)
    counted = {severity: sum(finding.severity is severity for finding in findings) for severity in Severity}
    console.print(
        ", ".join(f"{count} {severity}" for severity, count in counted.items()) if findings else "Nothing found."
    )


def _told(finding: Finding) -> Text:
    parts: list[tuple[str, str]] = [(f"{finding.rule}  ", "bold"), (finding.message, "")]
    place = finding.path
    if finding.where:
        place = f"{place}  ({finding.where.file}:{finding.where.line}:{finding.where.column})"
    parts += [(f"\n{place.strip()}", "dim"), (f"\n{finding.why}", "")]
    if finding.fix:
        parts.append((f"\n→ {finding.fix}", "green"))
    parts.append((f"\n{finding.source}", "dim"))
    return Text.assemble(*parts)


def _show_rules(*, json_: bool) -> None:
    if json_:
        keys = ("id", "severity", "finds", "why", "source")
        print_json({"rules": [{key: str(getattr(rule, key)) for key in keys} for rule in run.ALL_RULES]})
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="dim")
    for column in ("rule", "severity", "finds"):
        table.add_column(column, overflow="fold")
    for rule in run.ALL_RULES:
        table.add_row(rule.id, Text(rule.severity, _COLOURS[rule.severity]), rule.finds)
    out().print(table)
