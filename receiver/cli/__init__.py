"""The command line: ``receiver COMMAND``.

Every command has a module of its own that is imported when the command is asked for. So ``receiver --help``
needs neither asyncio nor a web framework, and its list of commands is the table below.
"""

from typing import Final

import click

from receiver.cli.command import CODES, LazyGroup

#: Name → (module, what ``receiver --help`` says about it). In the order of a first day.
COMMANDS: Final = {
    "demo": ("demo", "Run jobs against seven simulated providers and show what happened."),
    "keygen": ("keygen", "Print a new key."),
    "serve": ("serve", "Take callbacks, serve the API and do what is due."),
    "worker": ("serve", "Do what is due, without taking callbacks."),
    "simulate": ("simulate", "Simulate the providers on one port."),
    "submit": ("submit", "Submit a job."),
    "jobs": ("jobs", "List, show and steer jobs."),
    "callbacks": ("callbacks", "List and show what arrived."),
    "replay": ("replay", "Dispatch, read or send again what is stored."),
    "dead": ("dead", "List, retry and discard dead letters."),
    "handlers": (
        "handlers",
        "List the handlers that get completions; pause, resume and forget them.",
    ),
    "alarms": ("alarms", "List alarms: conditions that somebody must see to."),
    "completions": ("completions", "Print completions, in one order that never changes."),
    "sinks": ("sinks", "List, check and test sinks: handlers that send completions on, without code."),
    "tail": ("tail", "Follow callbacks, requests and handlers live."),
    "verify": ("verify", "Say whether a message is a provider's, and if not, why."),
    "sign": ("sign", "Print the headers with which a provider would sign a message."),
    "send": ("send", "Send a callback as a provider would, or deliberately wrong."),
    "providers": ("providers", "List, show and check provider descriptions."),
    "config": ("config", "Show the settings and where they come from."),
    "doctor": ("doctor", "Check the installation and say what to do next."),
    "docs": ("docs", "Read the documentation."),
    "explain": ("explain", "Say what a code means, why it happens and what to do next."),
    "db": ("database", "Make, migrate, prune, shrink, back up, export and copy the database."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, epilog=CODES, context_settings={"max_content_width": 110})
@click.version_option(package_name="receiver")
def cli() -> None:
    """Receive the callbacks of asynchronous job APIs.

    Settings come from the environment: see 'receiver config show'. Ids may be shortened as long as they
    stay unique. Data goes to standard output, messages to standard error.
    """


#: What ``receiver`` in the shell runs.
main: Final = cli
