"""Ctrl-C before there is anything to interrupt: while Python imports what the command line needs.

Imports nothing that Python has not imported when it begins, for what is imported first cannot be covered.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # what `signal` is made of, without its enums
import os
import sys

TYPE_CHECKING = False  # that of `typing` takes 10 ms, in which Ctrl-C would be a traceback
if TYPE_CHECKING:
    from typing import NoReturn

INTERRUPTED = ("interrupted", "What is in the store is kept: the same command begins again with it.")
_EXIT_CODE = 130


def end_at_once() -> None:
    """From now on Ctrl-C ends the process with what it always says; an exception in the middle of an import
    would be a traceback, or become another exception. What ignores Ctrl-C (nohup), or has a handler of its
    own, is left as it is."""
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _end)


def raise_again() -> None:
    """From now on Ctrl-C is a KeyboardInterrupt again."""
    if _signal.getsignal(_signal.SIGINT) is _end:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def _end(_number: int, _frame: object) -> NoReturn:
    message, hint = INTERRUPTED
    text = f"error: {message}\n{hint}\n"
    if "--json" in sys.argv:
        text = f'{{"error": {{"code": {_EXIT_CODE}, "message": "{message}", "hint": "{hint}"}}}}\n'
    try:
        os.write(2, text.encode())
    finally:
        os._exit(_EXIT_CODE)
