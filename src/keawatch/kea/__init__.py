"""Speaks to Kea: the only package that knows sockets and JSON."""
