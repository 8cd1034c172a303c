"""The story of one experiment, from claim to settling; imports seams, never backends."""
