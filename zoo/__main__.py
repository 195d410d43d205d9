"""`zoo`, and `python -m zoo`: the process of the command line, from before its imports to its end."""

from __future__ import annotations

import gc
import sys

from zoo.cli.interrupts import end_at_once

TYPE_CHECKING = False  # see there
if TYPE_CHECKING:
    from typing import NoReturn

GARBAGE = (50_000, 20, 50)
"""When Python looks for garbage: see `gc.set_threshold`. By its own, all that torch imports, and a record per
item of the data, are looked through again and again and nothing is found: 1 s of processor in the start of a
run, 22 us for each photograph of it, 3 of the 80 ms of `zoo list`."""


def main() -> NoReturn:
    """Run the command line in a process of its own, and leave with its exit code."""
    end_at_once()
    gc.set_threshold(*GARBAGE)
    try:
        from zoo.cli.main import main as run

        run()
    except KeyboardInterrupt:  # once more, while it is being answered
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
    finally:
        gc.freeze()  # else Python looks for garbage once more, in a process that ends


if __name__ == "__main__":
    main()
