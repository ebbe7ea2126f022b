"""A process that has the program imported already and forks for each command: the same, but at once.

Run as a script with the path of a socket. A request is JSON (arguments, environment, folder) with the file
descriptors of standard input, output and error; the answers are the pid and then the exit code, a line each.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import sys

from receiver.cli import COMMANDS, main


def serve(path: str) -> None:
    """Answer requests until the process is ended."""
    for module in [f"cli.{module}" for module, _ in COMMANDS.values()] + ["storage.postgres"]:
        importlib.import_module(f"receiver.{module}")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(connection)
            connection.close()


def _answer(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    text, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 3)
    child = os.fork()
    if child == 0:
        connection.close()
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
            os.close(descriptor)
        _run(**json.loads(text))
    connection.sendall(b"%d\n" % child)
    _, status = os.waitpid(child, 0)
    connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _run(arguments: list[str], environ: dict[str, str], folder: str) -> None:
    code = 1
    try:
        os.environ.clear()
        os.environ.update(environ)
        os.chdir(folder)
        sys.argv = ["receiver", *arguments]
        main(prog_name="receiver")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  (as the interpreter does at its end)
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
