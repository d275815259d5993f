"""Watches both servers of an ISC Kea HA pair and brings the pair back to redundant service."""

__version__ = "0.1.0"

__all__ = ["__version__"]
