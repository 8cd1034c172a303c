"""Object stores over a network: one engine for transfers, one small client for each SDK."""
