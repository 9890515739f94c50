"""One module per kind of load; each returns `Measurement`s."""
