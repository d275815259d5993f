"""Runs the rules, and makes findings of what they hit: with the remedy as it is to be written, and without any secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from keawatch.core.model import Version
from keawatch.errors import DialectError, LintError
from keawatch.lint import merge
from keawatch.lint.dialect import Document, Where
from keawatch.lint.makers import compact, how, maker_of
from keawatch.lint.model import Finding, Hit, Pair, Paste, Rule, Severity, Subject
from keawatch.lint.nodes import Node, said
from keawatch.lint.rules import RULES
from keawatch.lint.trial import Verdict

HIDDEN = "***"
_SECRET_KEY = re.compile(r"(?:^|-)(?:password|secret)$")
_SHORTEST_SECRET = 4

CUSTOM_EMPTY_MAP = Rule(
    "custom-empty-map",
    Severity.ERROR,
    "an empty map in pfSense's JSON Configuration",
    "pfSense reads the snippet with PHP, which knows no empty map: {} comes out as [], and Kea refuses a list where a map belongs.",
    "pfSense util.inc, array_merge_override_recursive; dhcp4_parser.yy; seen on 2.2.0, 2.6.3 and 3.0.4",
    lambda _: (),
)
KEA_REFUSES = Rule(
    "kea-refuses",
    Severity.ERROR,
    "this host's Kea refuses the configuration",
    "Kea itself was asked, with -t or -T: it does not start with it.",
    "kea-dhcp4 -t, kea-dhcp4 -T; manual, Starting and Stopping the DHCPv4 Server",
    lambda _: (),
)
SYNTAX = Rule(
    "syntax",
    Severity.ERROR,
    "a file that is not Kea's kind of JSON",
    "Kea's parser refuses it too: comments, surplus commas after a value and includes are allowed, all else is JSON, and no key stands "
    "twice in a map.",
    "dhcp4_lexer.ll, dhcp4_parser.yy; seen on 2.2.0, 2.6.3 and 3.0.4",
    lambda _: (),
)
NOT_READ = Rule(
    "server-not-read",
    Severity.WARNING,
    "a server whose running configuration can't be read",
    "Nothing of it was looked at, and nothing was compared. An HA listener does not take config-get: give keawatch that server's "
    "control socket, or the file.",
    "command_creator.cc, ha_commands4_",
    lambda _: (),
)
ALL_RULES: tuple[Rule, ...] = (*RULES, CUSTOM_EMPTY_MAP, KEA_REFUSES, SYNTAX, NOT_READ)
"""Every rule that there is; the last ones are about what is read, and not in it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a server beside its configuration."""

    name: str | None = None
    version: Version | None = None
    addresses: Mapping[str, tuple[str, ...]] | None = None


def subject_of(document: Document, file: str | None = None, told: Told = Told()) -> Subject:
    """Return a configuration to be looked at; LintError where it is none of a DHCP server."""
    whole = _unwrapped(document.value)
    prefix = "" if whole is document.value else "arguments."
    for family in (4, 6):
        dhcp = whole.get(f"Dhcp{family}") if isinstance(whole, dict) else None
        if isinstance(dhcp, dict):
            break
    else:
        raise LintError(
            f"{file or 'the configuration'} has no map Dhcp4 or Dhcp6, so it is no configuration of a DHCP server"
        )
    node = Node(dhcp, f"Dhcp{family}")
    places = {path.removeprefix(prefix): where for path, where in document.places.items()}
    subject = Subject("", family, node, told.version, maker_of(node), told.addresses, file, places, Node(whole, ""))
    return replace(subject, server=told.name or _own_name(subject))


def _unwrapped(value: Any) -> Any:
    """Return a configuration that may be the reply of a config-get."""
    inside = value.get("arguments") if isinstance(value, dict) else None
    return inside if isinstance(inside, dict) else value


def _own_name(subject: Subject) -> str:
    names = [one.this_server for one in subject.relationships if one.this_server]
    return said(names[0] if names else subject.file or f"dhcp{subject.family}")


def lint(subjects: Sequence[Subject]) -> list[Finding]:
    """Return what the rules find in one configuration, or in a pair's two, gravest first."""
    found = [
        finding for subject in subjects for rule in RULES if not rule.pairwise for finding in _single(rule, subject)
    ]
    if len(subjects) == 2:
        pair = Pair(subjects[0], subjects[1])
        found += [finding for rule in RULES if rule.pairwise for finding in _pairwise(rule, pair)]
    return ordered(found, subjects)


_GRAVITY = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def ordered(found: Iterable[Finding], subjects: Sequence[Subject]) -> list[Finding]:
    """Return findings gravest first, each once, and swept of every secret in the configurations."""
    secrets = sorted({secret for subject in subjects for secret in _secrets(subject)}, key=len, reverse=True)
    unique = dict.fromkeys(_swept(finding, secrets) for finding in found)
    return sorted(unique, key=lambda finding: _GRAVITY[finding.severity])


def _single(rule: Rule, subject: Subject) -> Iterator[Finding]:
    for hit in rule.look(subject):
        yield _finding(rule, subject, hit)


def _pairwise(rule: Rule, pair: Pair) -> Iterator[Finding]:
    for hit in rule.look(pair):
        # Where nothing is said, the path is one of the second configuration.
        subject = pair.a if hit.server is not None and hit.server == pair.a.server else pair.b
        yield _finding(rule, subject, hit)


def _finding(rule: Rule, subject: Subject, hit: Hit) -> Finding:
    where = _nearest(subject.places, hit.path) or (Where(subject.file, 1, 1) if subject.file else None)
    return Finding(
        rule.id,
        rule.severity,
        subject.server,
        hit.path,
        hit.message,
        rule.why,
        _fix(subject, hit.fix),
        rule.source,
        where,
    )


def _nearest(places: Mapping[str, Where], path: str) -> Where | None:
    while path:
        if path in places:
            return places[path]
        path = re.sub(r"(?:\.[^.\[]*|\[\d+\]|^[^.\[]*)$", "", path)
    return None


def _fix(subject: Subject, fix: Paste | str | None) -> str | None:
    if fix is None or isinstance(fix, str):
        return fix
    told = f"At {fix.at} write {compact(fix.json)}"
    told += f" ({fix.words})." if fix.words else "."
    maker = how(subject, fix)
    return f"{told} {maker}" if maker else told


def _secrets(subject: Subject) -> Iterator[str]:
    for key, node in subject.whole.walk():
        if _SECRET_KEY.search(key) and isinstance(node.value, str) and len(node.value) >= _SHORTEST_SECRET:
            yield node.value


def _swept(finding: Finding, secrets: Sequence[str]) -> Finding:
    def sweep(text: str) -> str:
        text = re.sub(r"(?<=://)[^/@\s\"']+@", f"{HIDDEN}@", text)
        for secret in secrets:
            text = text.replace(secret, HIDDEN)
        return text

    return replace(
        finding,
        server=sweep(finding.server),
        message=sweep(finding.message),
        fix=None if finding.fix is None else sweep(finding.fix),
    )


def with_custom(subject: Subject, snippet: Any, file: str) -> tuple[Subject, list[Finding]]:
    """Return the configuration as pfSense merges a snippet into it, and what is wrong with the snippet itself."""
    if not isinstance(snippet, dict):
        raise LintError(f"{file}: the snippet must be a map, the inside of Dhcp{subject.family}")
    wrapped = next((key for key in ("Dhcp4", "Dhcp6") if key in snippet), None)
    if wrapped:
        raise LintError(f"{file}: the snippet is what stands inside {wrapped}; take {wrapped} itself away")
    found = [
        Finding(
            CUSTOM_EMPTY_MAP.id,
            Severity.ERROR,
            subject.server,
            f"Dhcp{subject.family}.{path}",
            f"{path} is an empty map, which comes out as a list",
            CUSTOM_EMPTY_MAP.why,
            f"Take {path} out of the snippet.",
            CUSTOM_EMPTY_MAP.source,
            Where(file, 1, 1),
        )
        for path in merge.empty_maps(subject.dhcp.value, snippet)
        if path
    ]
    dhcp = merge.merged(subject.dhcp.value, snippet)
    node = Node(dhcp, subject.dhcp.path)
    return replace(subject, dhcp=node, whole=Node({subject.dhcp.path: dhcp}, "")), found


def of_syntax(error: DialectError) -> Finding:
    """Return that a file can't be read as Kea's."""
    where = Where(error.file, error.line, error.column)
    return Finding(SYNTAX.id, SYNTAX.severity, said(error.file), "", str(error), SYNTAX.why, None, SYNTAX.source, where)


def of_silence(server: str, sentence: str) -> Finding:
    """Return that a server's configuration is not known."""
    return Finding(NOT_READ.id, NOT_READ.severity, server, "", sentence, NOT_READ.why, None, NOT_READ.source)


def of_kea(subject: Subject, verdicts: Iterable[Verdict]) -> Iterator[Finding]:
    """Yield what this host's Kea objects to."""
    for verdict in verdicts:
        if verdict.refused:
            where = Where(subject.file, 1, 1) if subject.file else None
            message = f"kea-dhcp{subject.family} {verdict.option}: {said_whole(verdict.words)}"
            yield Finding(
                KEA_REFUSES.id,
                Severity.ERROR,
                subject.server,
                subject.dhcp.path,
                message,
                KEA_REFUSES.why,
                None,
                KEA_REFUSES.source,
                where,
            )


_LONGEST = 400


def said_whole(text: str) -> str:
    """Return Kea's own words, which may be long, without control characters."""
    words = "".join(letter if letter.isprintable() else " " for letter in text)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
