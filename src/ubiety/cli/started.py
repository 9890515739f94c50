"""Where the process of a node begins: `ubiety serve` becomes this one."""

import gc
import importlib
import json
import sys

SERVE = "ubiety.cli.serve"


def main(arguments: list[str]) -> int:
    """Bring in all parts of a node, then serve. ``arguments``: the options as JSON. Returns the exit code."""
    # While modules are brought in next to nothing becomes garbage, but looking for it takes a tenth of the
    # time; and what they hold stays for ever: nobody needs to look at it again.
    gc.disable()
    serve = importlib.import_module(SERVE)
    gc.freeze()
    gc.enable()
    code: int = serve.main(json.loads(arguments[0]))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
