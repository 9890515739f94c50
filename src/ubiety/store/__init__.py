"""Everything that lasts: the tables, one module of plain functions per subject, and the ledger.

Functions take an open connection first (``fn(conn, ...)``), do nothing but SQL and never commit;
``Database.read`` and ``Database.write`` run them in threads.
"""
