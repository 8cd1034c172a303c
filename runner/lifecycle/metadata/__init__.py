"""What an experiment says of itself in its output, and the documents made of it."""
