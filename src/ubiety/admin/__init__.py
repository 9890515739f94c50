"""Administration: one table of operations, and the faces that call it."""
