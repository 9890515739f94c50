"""All sockets: listeners, TLS and the drivers of the sans-IO cores."""
