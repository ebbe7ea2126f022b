"""Amazon SNS: what an independent package puts together is what we verify, in both versions of the signature."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from msgspec.structs import replace

from receiver.core.description.scheme import Scheme
from receiver.core.errors import KeyUnavailableError, RejectionError
from receiver.core.message import Message
from receiver.core.signature.verify import load_key, signed_body, verify
from receiver.core.signature.walk import walk

from .samples import PAIR

NOW = 1_795_168_800_000
SCHEME = Scheme(
    kind="rsa",
    alg="sha1",
    proof="body:Signature",
    encoding="base64",
    plugin="sns",
    account="arn:aws:sns:eu-west-1:123456789012:other, arn:aws:sns:eu-west-1:123456789012:jobs",
    timestamp="body:Timestamp",
    timestamp_format="iso8601",
    tolerance=3600,
    delivery_id="body:MessageId",
    key_encoding="pem",
)
NOTIFICATION = {
    "Type": "Notification",
    "MessageId": "m-1",
    "TopicArn": "arn:aws:sns:eu-west-1:123456789012:jobs",
    "Subject": "Done",
    "Message": '{"detail": {"TranscriptionJobName": "j1", "TranscriptionJobStatus": "COMPLETED"}}',
    "Timestamp": "2026-11-20T10:00:00.000Z",
    "SignatureVersion": "2",
    "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem",
    "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
}
CONFIRMATION = {
    **{name: value for name, value in NOTIFICATION.items() if name not in {"Subject", "UnsubscribeURL"}},
    "Type": "SubscriptionConfirmation",
    "Token": "t0k3n",
    "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
}
PUBLIC = PAIR.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
KEY = load_key("k", PUBLIC, scheme=SCHEME)
PRIVATE = load_key(
    "k", PAIR.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), scheme=SCHEME
)


def to_sign(document: dict[str, str]) -> bytes:
    """What of *document* is signed, as the package puts it together."""
    from sns_message_validator.sns_message_validator import SNSMessageValidator  # type: ignore[import-untyped]

    content: str = SNSMessageValidator()._get_plaintext_to_sign(document)
    return content.encode()


def sent(document: dict[str, str], digest: Any = None) -> Message:  # noqa: ANN401
    """*document* as Amazon sends it: what is signed is put together by the package."""
    signature = PAIR.sign(to_sign(document), padding.PKCS1v15(), digest or SHA256())
    body = json.dumps({**document, "Signature": base64.b64encode(signature).decode()})
    return Message(body=body.encode(), headers=[(b"x-amz-sns-message-type", document["Type"].encode())])


@pytest.mark.parametrize("document", [NOTIFICATION, CONFIRMATION], ids=lambda one: one["Type"])
@pytest.mark.parametrize("digest", [SHA1(), SHA256()], ids=["v1", "v2"])  # noqa: S303
def test_both_kinds_in_both_versions(document: dict[str, str], digest: Any) -> None:  # noqa: ANN401
    """A genuine message is accepted, and not with any of its signed members changed."""
    message = sent(document, digest)
    verified = verify(message, scheme=SCHEME, keys=[KEY], now=NOW)
    assert (verified.delivery_id, verified.timestamp) == ("m-1", NOW)
    assert {one.mark for one in walk(message, scheme=SCHEME, keys=[KEY], now=NOW)} == {"ok"}
    whole = json.loads(message.body)
    for name in ("Message", "MessageId", "Timestamp", "TopicArn", "Type", "Subject", "Token", "SubscribeURL"):
        if name not in whole:
            continue
        with pytest.raises(RejectionError):
            verify(
                replace(message, body=json.dumps({**whole, name: whole[name] + "x"}).encode()),
                scheme=SCHEME,
                keys=[KEY],
                now=NOW,
            )


def test_the_weaker_version_can_be_refused() -> None:
    """Where the description says sha256, a signature over SHA-1 proves nothing."""
    strict = replace(SCHEME, alg="sha256")
    assert verify(sent(NOTIFICATION), scheme=strict, keys=[KEY], now=NOW).authenticated
    with pytest.raises(RejectionError):
        verify(sent(NOTIFICATION, SHA1()), scheme=strict, keys=[KEY], now=NOW)  # noqa: S303


def test_a_topic_of_somebody_elses_proves_nothing() -> None:
    """Amazon signs for everyone who has a topic: a genuine message of a topic that is not named is refused."""
    stranger = sent({**NOTIFICATION, "TopicArn": "arn:aws:sns:eu-west-1:666666666666:jobs"})
    with pytest.raises(RejectionError) as refused:
        verify(stranger, scheme=SCHEME, keys=[KEY], now=NOW)
    assert refused.value.code == "claim_invalid"
    with pytest.raises(ValueError, match="account"):
        replace(SCHEME, account=None)
    with pytest.raises(KeyUnavailableError, match="AWS_SNS_TOPIC_ARN"):
        verify(
            sent(NOTIFICATION), scheme=replace(SCHEME, account="env:AWS_SNS_TOPIC_ARN"), keys=[KEY], now=NOW
        )


@pytest.mark.parametrize("document", [NOTIFICATION, CONFIRMATION], ids=lambda one: one["Type"])
def test_what_we_sign_is_what_the_package_would_verify(document: dict[str, str]) -> None:
    """The signature that we put into a body is over the bytes that the package puts together."""
    body = signed_body(json.dumps(document).encode(), scheme=SCHEME, key=PRIVATE)
    whole = json.loads(body)
    PAIR.public_key().verify(base64.b64decode(whole["Signature"]), to_sign(whole), padding.PKCS1v15(), SHA1())  # noqa: S303
    assert verify(Message(body=body), scheme=SCHEME, keys=[KEY], now=NOW).authenticated


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"Type": "Notification"}',
        b'{"Type": "Other", "Signature": "AAAA"}',
        b'{"Type": "Notification", "Type": "Notification"}',
        b'{"Type": 1, "Signature": 2}',
        b"\xff",
        b'{"Signature": "' + b"A" * (1 << 20) + b'"}',
    ],
)
def test_what_is_no_message_of_amazons_is_refused(body: bytes) -> None:
    """Whatever the body, only RejectionError is raised."""
    with pytest.raises(RejectionError):
        verify(Message(body=body), scheme=SCHEME, keys=[KEY], now=NOW)
