"""The operator's own programs, asked before an experiment begins and told how it ended."""
