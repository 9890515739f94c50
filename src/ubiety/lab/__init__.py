"""The laboratory: servers of other makers, simulated, to rehearse and to test federation with.

`ubiety lab microsoft` is a pool of Lync/OCS front ends. It knows nothing of our own gateway, and keeps its
own dialogs and subscriptions, so that the two sides of a rehearsal do not share their mistakes.
"""
