"""Ctrl-C while a command is still being imported: nothing is to be tidied up yet, so it ends without a word."""

import os
import signal
from typing import Final

#: What a shell says of a program that Ctrl-C has ended.
INTERRUPTED: Final = 130


def ends_at_once() -> None:
    """Have Ctrl-C end the process, until ``is_for_the_command``."""
    # Who started us with Ctrl-C ignored (nohup, a job in the background) wants that to stay so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def is_for_the_command() -> None:
    """Have Ctrl-C interrupt what runs, as everywhere in Python."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _end(*_: object) -> None:
    os._exit(INTERRUPTED)
