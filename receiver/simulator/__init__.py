"""The providers on loopback, with faults on demand, for tests and demonstrations.

Nothing here knows the receiver: what it answers comes from the providers' own pages, and what it signs
from the specifications.
"""

from receiver.simulator.callbacks import Callback, Message
from receiver.simulator.faults import FAULTS, OFFERED, Fault, fault
from receiver.simulator.front import ReceivedRequest
from receiver.simulator.jobs import Job, JobState
from receiver.simulator.server import Simulator, serve
from receiver.simulator.settings import PROVIDERS, SimulatorSettings

__all__ = [
    "FAULTS",
    "OFFERED",
    "PROVIDERS",
    "Callback",
    "Fault",
    "Job",
    "JobState",
    "Message",
    "ReceivedRequest",
    "Simulator",
    "SimulatorSettings",
    "fault",
    "serve",
]
