"""A node that shares its domain with a Microsoft server: subscriptions, presence and messages over SIP."""
