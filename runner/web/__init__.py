"""The one listener: health, metrics and status over HTTP, at no cost to anything else."""
