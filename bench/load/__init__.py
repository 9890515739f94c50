"""The load generator: raw uvloop protocols that do as little as a client can."""
