"""How the documentation is built, and those of its pages that are written from the code."""
