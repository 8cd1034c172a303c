"""Web servers, for reading alone."""
