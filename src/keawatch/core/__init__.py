"""Decides, without clock, file or network: every value comes in, every value goes out."""
