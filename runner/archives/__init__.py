"""Archives in and out: recognised by their bytes, never leaving their directory."""
