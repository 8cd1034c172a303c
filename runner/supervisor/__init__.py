"""The small process that owns one run and outlives the daemon. Standard library alone."""
