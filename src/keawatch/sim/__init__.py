"""Simulates a Kea HA pair in one process: pure and deterministic inside, on real sockets where one is wanted."""
