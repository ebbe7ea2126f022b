"""A plain worker on the feed: no broker, no framework; it goes on where it stood, also on another machine."""

import os

from receiver.client import Client, CompletionDocument


def handle(receiver: Client, done: CompletionDocument) -> None:
    """Do what is yours. One may come twice, after a crash in between: go by the job's id and replay_id."""
    if done.state == "succeeded":
        result = receiver.result(done.job.id)
        print(done.cursor, done.job.id, result.content_type, result.size, "bytes", flush=True)
    else:
        print(done.cursor, done.job.id, done.state, done.job.error, flush=True)


def main() -> None:
    """Follow the feed under a name, which the receiver remembers; it may be away for a while meanwhile."""
    with Client(os.environ["HOOKS_URL"], token=os.environ["HOOKS_TOKEN"]) as receiver:
        for done in receiver.completions(name="worker"):
            handle(receiver, done)


main()
