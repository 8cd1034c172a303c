"""One supervised run: its workspace and bounds, its record, its end, and what it leaves."""
