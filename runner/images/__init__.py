"""Container images: which one is meant, whether it is trusted, and how it comes to this machine."""
