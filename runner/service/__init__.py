"""Setting the daemon up as a service of systemd, and taking that back."""
