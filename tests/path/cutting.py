"""A wire to PostgreSQL that is cut at the COMMIT of a transaction that a test chooses."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_HEAD: Final = 5
#: The first message of a connection has no letter.
_FIRST_HEAD: Final = 4
_PIECE: Final = 65536


class Wire:
    """Passes everything on until a transaction of the wanted kind is to be committed; then it is cut, once."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._wanted: tuple[bytes, ...] = ()
        self._reaches = self._stays = self._armed = False
        self._ends: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        #: Whether a transaction was cut since that was asked for.
        self.cut = False
        #: Whether nobody gets through.
        self.away = False
        self.url = ""

    def cut_at(self, *wanted: bytes, reaches: bool, stays: bool = False) -> None:
        """Cut the next transaction whose statements and values have all of *wanted*.

        With *reaches*, the server hears COMMIT and its answer is lost; else it does not even hear that. With *stays*
        nobody gets through from then on, until ``away`` is unset.
        """
        self._stays = stays
        self._wanted, self._reaches, self.cut, self._armed = wanted, reaches, False, True

    def serve(self, listening: socket.socket) -> None:
        """Carry connections until there will be none any more."""
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            if self.away:
                near.close()
                continue
            far = socket.create_connection(self._server)
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._ends += [near, far]
            lost = threading.Event()
            for carry in (self._forth, self._back):
                thread = threading.Thread(target=carry, args=(near, far, lost), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _forth(self, near: socket.socket, far: socket.socket, lost: threading.Event) -> None:
        head, said = _FIRST_HEAD, bytearray()
        with contextlib.suppress(OSError), near.makefile("rb") as arriving:
            while len(start := arriving.read(head)) == head:
                text = arriving.read(int.from_bytes(start[-4:], "big") - 4)
                message, head = start + text, _HEAD
                asks = message[:1] in {b"Q", b"P"}
                if asks and b"BEGIN" in text:
                    said.clear()
                said += text
                if asks and b"COMMIT\0" in text and self._takes(bytes(said)):
                    if not self._reaches:
                        break
                    lost.set()
                far.sendall(message)
        _hang_up(far) if lost.is_set() else _hang_up(near, far)

    def _takes(self, said: bytes) -> bool:
        if not self._armed or not all(one in said for one in self._wanted):
            return False
        self._armed, self.cut, self.away = False, True, self._stays
        return True

    def _back(self, near: socket.socket, far: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while piece := far.recv(_PIECE):
                if lost.is_set():
                    if b"COMMIT\0" in piece:
                        break
                    continue
                near.sendall(piece)
        _hang_up(near, far)

    def close(self) -> None:
        """Hang up."""
        _hang_up(*self._ends)
        for thread in self._threads:
            thread.join()
        for one in self._ends:
            one.close()


def _hang_up(*ends: socket.socket) -> None:
    for one in ends:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def wire(url: str) -> Iterator[Wire]:
    """A wire to the database at *url*; its own address is ``url``."""
    parts = urlsplit(url)
    carrying = Wire((parts.hostname or "", parts.port or 0))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        place = f"{parts.username}@127.0.0.1:{listening.getsockname()[1]}"
        carrying.url = urlunsplit(parts._replace(netloc=place, query="sslmode=disable&gssencmode=disable"))
        serving = threading.Thread(target=carrying.serve, args=(listening,), daemon=True)
        serving.start()
        try:
            yield carrying
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()
            carrying.close()
