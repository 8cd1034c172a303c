"""``make release VERSION=x.y.z``: one version everywhere, and files to publish that were tried."""
