"""Contents and signatures to try where code knows what was signed, because no template can say it."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from receiver.core.description.scheme import Scheme, listed
from receiver.core.errors import SignatureMalformedError
from receiver.core.signature import rfc9421, sns, twilio
from receiver.core.signature.extraction import Extraction, ProofHeader
from receiver.core.signature.proof import signature_decoder, signature_form


class Case(NamedTuple):
    """Bytes, in order, and the signatures that may be over them."""

    content: Sequence[bytes]
    signatures: Sequence[bytes]
    #: What ``part:`` sources read then, if that is of the one signature.
    items: Sequence[bytes] | None = None


def cases_of(scheme: Scheme) -> Callable[[Extraction], list[Case]] | None:
    """Prepare the plugin of *scheme*; ``None`` where it has none.

    What is returned raises RejectionError where the message has no signature of that kind.
    """
    decode = signature_decoder(scheme)
    header = ProofHeader(scheme)

    def of_twilio(found: Extraction) -> list[Case]:
        signatures = decoded(header.candidates(found), scheme, decode)
        return [Case(content, signatures) for content in twilio.contents(found)]

    def of_sns(found: Extraction) -> list[Case]:
        content = sns.content(found)
        sns.check_topic(found, scheme.account or "")
        return [Case(content, decoded([sns.signature(found)], scheme, decode))]

    def of_rfc9421(found: Extraction) -> list[Case]:
        return [
            Case(one.content, [one.signature], one.items) for one in rfc9421.signatures(found.message, scheme)
        ]

    plugins = {"twilio": of_twilio, "sns": of_sns, "rfc9421": of_rfc9421}
    return plugins[scheme.plugin] if scheme.plugin is not None else None


def decoded(texts: Sequence[bytes], scheme: Scheme, decode: Callable[[bytes], bytes | None]) -> list[bytes]:
    """Decode signatures; raises SignatureMalformedError where none of *texts* is one."""
    signatures: list[bytes] = []
    for text in texts:
        if (signature := decode(text)) is not None:
            signatures.append(signature)  # noqa: PERF401  (for the one that there usually is, a loop is faster)
    if not signatures:
        where = f"The header {scheme.headers[0]!r}" if scheme.headers else listed(scheme.proof)[0]
        raise SignatureMalformedError(
            f"{where} holds no signature of {signature_form(scheme)}"
            + (f" after {scheme.prefix!r}." if scheme.prefix else ".")
        )
    return signatures
