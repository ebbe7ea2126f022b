"""Every error of the receiver, sorted by who must act on it.

::

    ReceiverError
    ├── ConfigurationError      the operator: a setting, a key or a description is wrong
    │   ├── DescriptionError      a provider description (file, key, reason)
    │   └── KeyUnavailableError   a key that verification needs is missing or out of reach (503, never 401)
    ├── RequestError            the caller of the API, the CLI or the library
    │   ├── NotFoundError
    │   └── ConflictError
    ├── ProviderError           the provider: an answer that is refused, missing or not as described
    │   ├── NeverConnectedError
    │   ├── NoAnswerError
    │   └── FetchRefusedError     (nothing was sent, or answered with a redirect)
    ├── UnreadableError         bytes that are genuine but not in the described form
    ├── RejectionError          the sender of a callback: not proved genuine (401)
    ├── StoreUnavailableError   the database: locked, full, gone (503, try again)
    │   ├── CommitUnknownError    its answer to a commit was lost: what was written may be there
    │   │   └── DoneUnknownError      of a deed: it may have been done, so it is not to be repeated unseen (500)
    │   └── NothingSentError      of a submission: nothing was recorded and nothing was sent
    └── OutcomeUnknownError     of a submission: recorded, and it is not known what became of it (500, do not repeat it)

Each class carries a stable ``code`` (part of the contract, explained in ``docs/codes/`` and by ``receiver explain``)
and a sentence that tells its reader what to do next. No message holds a secret, a token, a signature or a body.
"""

from collections.abc import Mapping
from typing import ClassVar


class ReceiverError(Exception):
    """The root: whatever the receiver raises on purpose.

    Args:
        message: One sentence for a person; it says what to do next.
        code: A stable code, where one class stands for several.
    """

    code: str = "receiver_error"
    #: The HTTP status under which the error leaves by ``/v1``.
    status: ClassVar[int] = 500
    #: Further members of the problem details that it leaves as.
    details: Mapping[str, str] = {}
    #: What it says where it is raised without a word.
    _sentence: ClassVar[str] = "The root: whatever the receiver raises on purpose."

    def __init_subclass__(cls) -> None:
        # Once for each class, and not for each forged callback.
        cls._sentence = (cls.__doc__ or "").partition("\n")[0]

    def __init__(self, message: str = "", *, code: str | None = None) -> None:
        super().__init__(message or self._sentence)
        if code is not None:
            self.code = code


class ConfigurationError(ReceiverError):
    """A setting is missing or wrong; the sentence names it."""

    code = "configuration_invalid"
    status = 503


class DescriptionError(ConfigurationError):
    """A provider description is wrong; the sentence names file, key and reason."""

    code = "description_invalid"


class KeyUnavailableError(ConfigurationError):
    """A key that verification needs is not configured or cannot be reached: our fault, not the sender's."""

    code = "key_unavailable"


class RequestError(ReceiverError):
    """The request cannot be carried out as it stands; ``field`` names the part to change."""

    code = "request_invalid"
    status = 422

    def __init__(self, message: str = "", *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(message, code=code)
        self.field = field


class NotFoundError(RequestError):
    """Nothing with this id is stored."""

    code = "not_found"
    status = 404


class ConflictError(RequestError):
    """The request contradicts what is already recorded."""

    code = "conflict"
    status = 409


class ProviderError(ReceiverError):
    """The provider's answer is missing, refused or not as its description says."""

    code = "provider_error"
    status = 502


class NeverConnectedError(ProviderError):
    """The provider was not reached, so it cannot have heard the request."""

    code = "never_connected"


class NoAnswerError(ProviderError):
    """The request was sent and no whole answer came: nobody knows what the provider did."""

    code = "no_answer"


class FetchRefusedError(ProviderError):
    """The address is not one that we send requests to (origin, scheme, private address, redirect)."""

    code = "fetch_refused"


class UnreadableError(ReceiverError):
    """Genuine bytes that are not in the described form: kept, and read again by a replay."""

    code = "unreadable"
    status = 200


class StoreUnavailableError(ReceiverError):
    """The store cannot commit right now; nothing was acknowledged, so try again."""

    code = "store_unavailable"
    status = 503


class CommitUnknownError(StoreUnavailableError):
    """The database's answer to a commit was lost: nobody knows yet whether it was committed."""


class DoneUnknownError(CommitUnknownError):
    """The database went away while this was recorded, so it may have been done: look before you do it again."""

    code = "commit_unknown"
    # Not 503: whoever hears that may send the request again by itself, and have it done twice.
    status = 500


class NothingSentError(StoreUnavailableError):
    """The job could not be recorded, so nothing was sent to the provider: try again."""

    code = "nothing_sent"


class OutcomeUnknownError(ReceiverError):
    """The job is recorded, and what became of its submission is not known yet: do not send it again.

    Args:
        message: What happened, and what to do.
        job_id: Its id: ask for the job once the database can be used again.
    """

    code = "outcome_unknown"
    # Not 503: whoever hears that may send the request again by itself, which bills the job twice.
    status = 500

    def __init__(self, message: str = "", *, job_id: str = "") -> None:
        super().__init__(
            message
            or f"The job {job_id} was given to its provider, and the database cannot take the answer yet. It is held "
            "and will be stored. Do not send the job again; ask for it by its id later."
        )
        self.job_id = job_id
        self.details = {"id": job_id}


class RejectionError(ReceiverError):
    """The callback is not proved genuine; ``code`` says which proof failed."""

    code = "rejected"
    status = 401


class SenderNotAllowedError(RejectionError):
    """The callback came from an address that is not in the description's allow_from."""

    code = "sender_not_allowed"


class SignatureMissingError(RejectionError):
    """The header that should carry the signature is absent."""

    code = "signature_missing"


class SignatureMalformedError(RejectionError):
    """The signature is present but not in the scheme's form (empty, twice, bad encoding, wrong length)."""

    code = "signature_malformed"


class SignatureMismatchError(RejectionError):
    """No signature in the header was made with a key we hold."""

    code = "signature_mismatch"


class SignedValueMissingError(RejectionError):
    """A value that the signature covers (an id in a header, a query parameter) is absent."""

    code = "signed_value_missing"


class TimestampMissingError(RejectionError):
    """The signed timestamp is absent."""

    code = "timestamp_missing"


class TimestampMalformedError(RejectionError):
    """The signed timestamp is not in the scheme's format."""

    code = "timestamp_malformed"


class TimestampStaleError(RejectionError):
    """Genuine, but signed longer ago than the scheme tolerates."""

    code = "timestamp_stale"


class TimestampFutureError(RejectionError):
    """Genuine, but signed further in the future than the scheme tolerates."""

    code = "timestamp_future"


class CredentialMissingError(RejectionError):
    """The header that should carry the token or the Basic credential is absent."""

    code = "credential_missing"


class CredentialMismatchError(RejectionError):
    """The header or Basic credential is not one we hold."""

    code = "credential_mismatch"


class ClaimInvalidError(RejectionError):
    """A signed claim (audience, issuer, expiry, key id) is not the one this receiver expects."""

    code = "claim_invalid"


class KeyUnknownError(RejectionError):
    """The message names a key id that is not among our keys; the key set may have to be read again."""

    code = "key_unknown"


class DigestMismatchError(RejectionError):
    """The signature is over a digest of the body, and this body has another."""

    code = "digest_mismatch"


class CertificateInvalidError(RejectionError):
    """The message names a certificate that is not one of the provider's."""

    code = "certificate_invalid"
