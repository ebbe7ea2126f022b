"""The kit's own keys of every kind: what it signs is proved by the half that it configures, and by no stranger's."""

from typing import Any

import pytest

from receiver.core.description.scheme import Scheme
from receiver.core.errors import RejectionError
from receiver.core.message import Message, lowered
from receiver.core.signature.published import load_key_set
from receiver.core.signature.verify import load_key, sign, verify
from receiver.testing.signing import configured, key_set, own_key, strangers_key

NOW = 1_795_000_000_000


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
@pytest.mark.parametrize("encoding", ["pem", "base64", "jwk"])
def test_what_is_signed_is_proved_by_the_configured_half(kind: Any, encoding: Any) -> None:  # noqa: ANN401
    """In every form that a key of that kind may be configured in, or published."""
    scheme = Scheme(kind=kind, header="X-S", encoding="base64", key_encoding=encoding)

    def arrived(*, stranger: bool = False) -> Message:
        key = strangers_key(scheme) if stranger else own_key(scheme)
        return Message(body=b"{}", headers=lowered(sign(b"{}", scheme=scheme, key=key, now=NOW)))

    published = load_key_set(key_set(scheme), scheme=scheme)
    for keys in ([load_key("k", configured(scheme), scheme=scheme)], published):
        assert verify(arrived(), scheme=scheme, keys=keys, now=NOW).authenticated
        with pytest.raises(RejectionError):
            verify(arrived(stranger=True), scheme=scheme, keys=keys, now=NOW)
