"""Several nodes as one service: the bus, who serves whom, fail-over, services."""
