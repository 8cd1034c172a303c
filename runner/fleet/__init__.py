"""Daemons that tell in a store what they do, and who reads it there."""
