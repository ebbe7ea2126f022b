"""The signed bytes of a message, put together as a scheme's template says."""

import hashlib
import zlib
from typing import Final

import msgspec

from receiver.core.description.scheme import Scheme, Source, parse_signed, parse_sources
from receiver.core.errors import SignatureMalformedError, SignedValueMissingError, TimestampMissingError
from receiver.core.signature.extraction import Extraction

#: Placeholders whose value the sender may fill with anything, the separator included.
_FREE: Final = frozenset({"body", "body_sha256", "body_crc32", "url", "method", "account"})


class _Step(msgspec.Struct, frozen=True):
    literal: bytes
    #: The placeholder after the literal; empty at the end of the template.
    name: str
    sources: tuple[Source, ...]
    #: The literal that ends the placeholder's value and may not occur in it. Empty for a timestamp: its forms
    #: are strict, and it is held to them once the signature is proved.
    end: bytes


class Content:
    """A template, parsed once."""

    __slots__ = (
        "_account",
        "_steps",
        "_strip",
        "delivery_id",
        "headers",
        "preferred",
        "sources",
        "timestamp",
    )

    def __init__(self, scheme: Scheme) -> None:
        self.timestamp = parse_sources(scheme.timestamp, field="timestamp")
        self.delivery_id = parse_sources(scheme.delivery_id, field="delivery_id")
        self._account = (scheme.account or "").encode()
        self._strip = scheme.body_norm == "strip_crlf"
        pairs = [(literal, "" if name == "secret" else name) for literal, name in parse_signed(scheme.signed)]
        ends = [literal for literal, _ in pairs[1:]] + [""]
        self._steps = [
            _Step(literal.encode(), name, self._sources(name), b"" if name == "timestamp" else end.encode())
            for (literal, name), end in zip(pairs, ends, strict=True)
            if literal or name
        ]
        asked = [step.sources for step in self._steps if step.sources] + [self.timestamp, self.delivery_id]
        #: Every source that a message is asked for.
        self.sources = {source for sources in asked for source in sources}
        #: The first source of each value: where a signer puts the value.
        self.preferred = list(dict.fromkeys(sources[0] for sources in asked if sources))
        #: The headers among them, in lower case.
        self.headers = frozenset(s.key for s in self.sources if s.place == "header")

    def pieces(self, found: Extraction) -> list[bytes]:
        """Return the signed bytes in order; the body is not copied.

        Raises:
            TimestampMissingError: the signed timestamp is absent or empty.
            SignedValueMissingError: another signed value is.
            SignatureMalformedError: a value holds the separator that should end it, so that one signature
                would fit two readings; or it is there twice.
        """
        pieces: list[bytes] = []
        for step in self._steps:
            if step.literal:
                pieces.append(step.literal)
            if step.sources:
                value = found.read(step.sources)
                if not value:
                    missing = TimestampMissingError if step.name == "timestamp" else SignedValueMissingError
                    raise missing(f"The signature covers {step.sources[0]}, which is missing.")
                if step.end and step.end in value:
                    raise SignatureMalformedError(f"The value {step.sources[0]} holds its own separator.")
                pieces.append(value)
            elif step.name:
                pieces.append(self._free(step.name, found))
        return pieces

    def _sources(self, name: str) -> tuple[Source, ...]:
        if not name or name in _FREE:
            return ()
        if name == "timestamp":
            return self.timestamp
        return self.delivery_id if name == "delivery_id" else parse_sources(name, field="signed")

    def _free(self, name: str, found: Extraction) -> bytes:
        message = found.message
        body = message.body
        if self._strip:
            body = body.replace(b"\r", b"").replace(b"\n", b"")
        if name == "body":
            return body
        if name == "body_sha256":
            return hashlib.sha256(body).hexdigest().encode()
        if name == "body_crc32":
            return b"%d" % zlib.crc32(body)
        if name == "account":
            return self._account
        return (message.url if name == "url" else message.method).encode("utf-8", "surrogatepass")
