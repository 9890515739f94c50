"""Why nothing is read from a client for now."""

from enum import Flag


class Pause(Flag):
    """The reasons; reading goes on when none is left."""

    ORDER = 1  # enough of its stanzas wait behind one that is being answered
    PACE = 2  # it came while too many others came
    LEDGER = 4  # more waits for the disk than may (design.md promise 3)
    HOME = 8  # its home is another node, which cannot be reached
    ROOM = 16  # its home is another node, and enough is on its way there
    BUSY = 32  # its home is another node, where more waits for the disk than may
    LEAVING = 64  # its stream is closed when it is its turn
