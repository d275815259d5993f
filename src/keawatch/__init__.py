"""Watches both servers of an ISC Kea HA pair and brings the pair back to redundant service."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("keawatch")
except PackageNotFoundError:  # run from a tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
