"""What is told of an experiment on its response queue, while it goes on (protocol section 2.10)."""
