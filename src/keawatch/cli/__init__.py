"""Gives keawatch its command line; ``main`` is the program."""

from keawatch.cli.commands import main

__all__ = ["main"]
