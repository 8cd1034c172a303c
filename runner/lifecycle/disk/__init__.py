"""The disk: what experiments take of it, who is ended for it, and what gives way."""
