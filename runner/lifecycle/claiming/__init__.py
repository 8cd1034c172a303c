"""When a message may be received, and who gets the room: the policy, and those who wait."""
