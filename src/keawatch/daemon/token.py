"""Keeps the token that orders over HTTP need."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from keawatch.errors import KeawatchError

TOKEN_FILE = "token"  # noqa: S105 - the file's name
"""In the state directory: who can read it may give orders."""


def ensure_token(state_dir: Path) -> str:
    """Return the token that orders need, made at the first start and readable by keawatch's user alone; raises KeawatchError."""
    path = state_dir / TOKEN_FILE
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
        return _token_in(path) or _new_token(path)
    except (OSError, ValueError) as error:
        raise KeawatchError(
            f"the token {path} can't be kept ({error}); give the file and its folder to keawatch's user, or remove the file"
        ) from error


def _token_in(path: Path) -> str | None:
    """Return a token that was kept; None where there is none, or one cut short by a crash."""
    if not path.exists():
        return None
    path.chmod(0o600)
    token = path.read_text(encoding="ascii").strip()
    return token if len(token) >= 32 else None


def _new_token(path: Path) -> str:
    token, fresh = secrets.token_urlsafe(32), path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(f"{token}\n")
    fresh.replace(path)
    return token
