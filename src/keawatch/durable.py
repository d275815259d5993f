"""Makes sure of what a folder holds: a new or renamed file survives a power cut only once its folder is on disk as well."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Return when the names in *folder* are on disk; raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
