"""What the demo leaves running for whoever wants to look around: some trouble to look at, and the console's address."""

import secrets
import signal
import sys
from typing import Final

import httpx

#: Jobs that fail, whose handler raises an error.
_FAILING: Final = 3
#: Callbacks that are signed with another key than ours.
_FOREIGN: Final = 4
_INVOICE: Final = {"file_url": "https://example.com/invoice.pdf"}


def kept(client: httpx.Client, receiver: str, simulator: str) -> None:
    """Make some trouble, print an address that signs in to the console once, and wait for SIGTERM or Ctrl-C."""
    make_trouble(client, receiver, simulator)
    answer = client.post(f"{receiver}/console/tickets")
    answer.raise_for_status()
    sys.stderr.write(
        f"\nThe console: {receiver}/console/enter/{answer.text}\n"
        f"It signs in once. Later ones sign in with the API token: {_token(client)}\n"
        f"The simulator: {simulator}/_control/health\nCtrl-C ends both.\n"
    )
    sys.stderr.flush()
    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    signal.sigwait(ending)


def make_trouble(client: httpx.Client, receiver: str, simulator: str) -> None:
    """Jobs that fail, and callbacks that are signed with a wrong key."""
    _order(client, simulator, "failed", _FAILING)
    for place in range(_FAILING):
        _submit(client, receiver, f"failing {place + 1}")
    webhook = f"{simulator}/_control/pulse/webhook"
    settings = {"url": f"{receiver}/webhooks/pulse", "secret": f"whsec_{secrets.token_hex(16)}"}
    client.delete(webhook).raise_for_status()
    client.post(webhook, json=settings).raise_for_status()
    for place in range(_FOREIGN):
        _submit(client, receiver, f"signed with another key {place + 1}")


def _order(client: httpx.Client, simulator: str, fault: str, count: int) -> None:
    order = {"provider": "pulse", "faults": [fault], "count": count}
    client.post(f"{simulator}/_control/faults", json=order).raise_for_status()


def _submit(client: httpx.Client, receiver: str, scene: str) -> None:
    body = {
        "provider": "pulse",
        "operation": "extract",
        "request": _INVOICE,
        "metadata": {"scene": scene},
    }
    client.post(f"{receiver}/v1/jobs", json=body).raise_for_status()


def _token(client: httpx.Client) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")
