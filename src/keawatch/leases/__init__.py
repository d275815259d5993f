"""Compares the lease databases of two servers, and mends one from the other by lease commands."""
