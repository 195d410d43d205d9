"""What a helper's process runs: it reads on its standard input what to work on."""

from __future__ import annotations

import pickle
import sys

from zoo.choosing.tuning.tuner import help_with
from zoo.errors import Interrupted, ZooError


def main() -> None:
    """Work on the study that the process which began this one has named."""
    arguments = pickle.load(sys.stdin.buffer)
    try:
        help_with(**arguments)
    except (Interrupted, KeyboardInterrupt):
        sys.exit(Interrupted.exit_code)
    except ZooError as error:  # the first process meets it too, or does the rest alone
        print(f"a helper of the search has ended: {error.message}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
