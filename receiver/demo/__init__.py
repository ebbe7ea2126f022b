"""The demo: every system of the sources, from submission to handler and replay, on this machine.

``run`` starts the provider simulator and the receiver as processes of their own, on loopback, with a temporary
database; it submits jobs over HTTP, watches the record, and judges every outcome.
"""

from receiver.demo.run import run

__all__ = ["run"]
