"""Unpacked artifacts that several experiments use, kept below a bound."""
