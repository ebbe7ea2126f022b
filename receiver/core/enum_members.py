"""Enum members that every callback asks for some twenty times, as names of this module, which are found faster.

Python 3.11 takes 950 instructions to find a member of an enum, and 24 to find a name of a module (callgrind). From 3.12
on it need not (https://docs.python.org/3.12/whatsnew/3.12.html, "Removed", gh-95083, read 2026-11-22).
"""

from typing import Final

from receiver.core.model import JobState, Source, Verdict

SUBMITTED: Final = JobState.SUBMITTED
FETCHING: Final = JobState.FETCHING
SUCCEEDED: Final = JobState.SUCCEEDED
FAILED: Final = JobState.FAILED
EXPIRED: Final = JobState.EXPIRED
TIMED_OUT: Final = JobState.TIMED_OUT
BY_CALLBACK: Final = Source.CALLBACK
BY_POLL: Final = Source.POLL
ACCEPTED: Final = Verdict.ACCEPTED
DUPLICATE: Final = Verdict.DUPLICATE
UNREADABLE: Final = Verdict.UNREADABLE
REJECTED: Final = Verdict.REJECTED
