"""Examines an installation (``doctor``) and writes a first configuration (``init``)."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from keawatch.cli.exits import Exit, UsageError
from keawatch.cli.remote import daemon_of
from keawatch.config import Config, load
from keawatch.daemon.bundle import Sources, write_bundle
from keawatch.daemon.clock import now
from keawatch.daemon.discover import discover, is_there, render
from keawatch.daemon.doctor import examine
from keawatch.daemon.jsonable import jsonable

_COLOURS = {"ok": "green", "info": "cyan", "warning": "yellow", "error": "bold red"}


@dataclass(frozen=True, slots=True)
class BundleAt:
    """Where a bundle is to be written, and what ``status --json`` would print."""

    path: Path
    status: Callable[[], Any]


def examine_and_show(config: Config, console: Console, *, json_: bool, bundle: BundleAt | None = None) -> Exit:
    """Show what ``doctor`` finds, write it with all else into *bundle*, and return 1 when anything must be mended."""
    if bundle and _is_there(bundle.path):
        raise UsageError(f"{bundle.path} is there already; name another file, or remove it")
    findings = asyncio.run(examine(config))
    if bundle:
        write_bundle(bundle.path, config, Sources(findings, bundle.status, lambda: _metrics(config)), now())
    written = {"bundle": str(bundle.path)} if bundle else {}
    if json_:
        sys.stdout.write(json.dumps({"findings": jsonable(findings), **written}, indent=2) + "\n")
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for _ in range(3):
            table.add_column(overflow="fold")
        for finding in findings:
            words = finding.sentence + (f" → {finding.advice}" if finding.advice else "")
            table.add_row(Text(finding.level, _COLOURS[finding.level]), finding.subject, words)
        console.print(table)
        if bundle:
            console.print(
                f"Wrote {bundle.path}, which you alone may read. It holds no password, but names, addresses and client identifiers: "
                "look into it, its README first, before you send it.",
            )
    return Exit.PROBLEM if any(finding.level == "error" for finding in findings) else Exit.WELL


def _metrics(config: Config) -> str | None:
    remote = daemon_of(config)
    return remote.text("/metrics") if remote else None


def discover_and_write(output: Path, console: Console, *, force: bool) -> Exit:
    """Write the configuration found on this host and say what to do next; 1 when no pair was found."""
    to_stdout = str(output) == "-"
    if not to_stdout and _is_there(output) and not force:
        raise UsageError(f"{output} is there already; say --force to overwrite it, or -o FILE for another place")
    found = discover()
    text = render(found)
    if to_stdout:
        sys.stdout.write(text)
        return Exit.WELL if found.pairs else Exit.PROBLEM
    for line in (*found.notes, *found.problems):
        console.print(line)
    if not found.pairs:
        console.print(
            f"No HA pair was found on this host, so {output} was not written; config.example.toml shows its form."
        )
        return Exit.PROBLEM
    _write(output, text)
    load(output)
    console.print(f"Wrote {output}: {len(found.pairs)} pair(s), only observed for now.")
    console.print(f"Next: keawatch doctor -c {output}; keawatch status -c {output}; then set autonomy in it.")
    return Exit.WELL


def _is_there(path: Path) -> bool:
    """Return whether something lies at *path*; raises UsageError where that can't be seen, since nothing could be written either."""
    try:
        return is_there(path)
    except OSError as error:
        raise UsageError(
            f"{path} can't be looked at ({error.strerror}); name another file, or run this as root"
        ) from error


def _write(output: Path, text: str) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
        output.chmod(0o644)  # It holds no secret, and keawatch may run as another user.
    except OSError as error:
        raise UsageError(
            f"{output} can't be written ({error}); say -o FILE for another place, or run this as root"
        ) from error
