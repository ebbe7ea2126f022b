"""Callback tokens and per-job keys."""

import base64

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from receiver.core.errors import ConfigurationError
from receiver.core.identity import JOB, new_id, to_bytes
from receiver.core.signature.token import check, job_secret, master_key, mint
from tests.core.making import JOB_ID, NOW

KEY = master_key("the newest master key, 32 bytes.")
OLD = master_key("a master key from before rotation")
TOKEN = mint(JOB_ID, provider="acme", key=KEY)


def test_a_genuine_token_names_its_job_and_key() -> None:
    """What was minted is checked to the same job and the key that made it."""
    assert check(TOKEN, provider="acme", keys=[KEY]) == (JOB_ID, KEY)


def test_a_token_is_bound_to_its_provider() -> None:
    """A token for one provider vouches for nothing at another's address."""
    assert check(TOKEN, provider="other", keys=[KEY]) is None


def test_every_byte_of_a_token_counts() -> None:
    """One flipped bit in any byte makes it worthless."""
    raw = base64.urlsafe_b64decode(TOKEN + "==")
    for place in range(len(raw)):
        for bit in range(8):
            broken = bytearray(raw)
            broken[place] ^= 1 << bit
            text = base64.urlsafe_b64encode(broken).rstrip(b"=").decode()
            assert check(text, provider="acme", keys=[KEY]) is None, (place, bit)


def test_every_length_but_the_right_one_is_refused() -> None:
    """Neither a shortened nor a lengthened token passes, down to nothing."""
    for size in range(len(TOKEN)):
        assert check(TOKEN[:size], provider="acme", keys=[KEY]) is None
    for tail in ("A", "=", "==", "\n", "\0", "/"):
        assert check(TOKEN + tail, provider="acme", keys=[KEY]) is None


def test_another_master_key_makes_other_tokens() -> None:
    """A token made with a key that we do not hold passes for nobody, even where it claims our key's id."""
    foreign = master_key("a master key of somebody else....")
    assert check(mint(JOB_ID, provider="acme", key=foreign), provider="acme", keys=[KEY]) is None
    impostor = type(KEY)(KEY.id, foreign.secret)
    assert check(mint(JOB_ID, provider="acme", key=impostor), provider="acme", keys=[KEY]) is None


def test_a_token_has_one_spelling() -> None:
    """The unused bits of its last base64 character are zero: no second spelling names the same job."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for last in alphabet:
        if last != TOKEN[-1]:
            assert check(TOKEN[:-1] + last, provider="acme", keys=[KEY]) is None


@pytest.mark.parametrize(
    "character", ["\u00e9", "\ud800", "\0", " ", "+", "/", "=", "\uff21", "\n", "%"], ids=ascii
)
def test_foreign_characters_are_refused_without_an_exception(character: str) -> None:
    """Whatever a path may carry, the answer is no, never an error."""
    for place in (0, 7, len(TOKEN) - 1):
        text = TOKEN[:place] + character + TOKEN[place + 1 :]
        assert check(text, provider="acme", keys=[KEY]) is None


def test_a_rotation_keeps_old_tokens_valid() -> None:
    """With the old key still in force behind the new one, tokens of both pass; once retired, its tokens do not."""
    old = mint(JOB_ID, provider="acme", key=OLD)
    assert check(old, provider="acme", keys=[KEY, OLD]) == (JOB_ID, OLD)
    assert check(TOKEN, provider="acme", keys=[KEY, OLD]) == (JOB_ID, KEY)
    assert check(old, provider="acme", keys=[KEY]) is None
    assert check(TOKEN, provider="acme", keys=[]) is None


def test_short_master_keys_are_refused_and_none_is_shown() -> None:
    """A key under 16 bytes is no key; a representation never holds the secret."""
    with pytest.raises(ConfigurationError) as refused:
        master_key("  fifteen bytes.  ")
    assert refused.value.code == "secret_key_too_short"
    assert "fifteen" not in str(refused.value)
    assert "master key" not in repr(KEY)


@pytest.mark.parametrize("provider", ["acme", "perplexity-webhook"])
def test_the_job_secret_is_hkdf(provider: str) -> None:
    """The per-job secret is what another implementation of RFC 5869 derives from the same inputs."""
    job_id = new_id(JOB, NOW)
    info = b"receiver job secret\0" + provider.encode() + b"\0" + to_bytes(job_id)
    expected = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(KEY.secret)
    assert job_secret(job_id, provider=provider, key=KEY) == expected
    assert job_secret(job_id, provider=provider, key=KEY, size=16) == expected[:16]


def test_job_secrets_differ_by_job_provider_and_key() -> None:
    """No two jobs, providers or master keys share a secret."""
    secrets = {
        job_secret(one, provider=name, key=key)
        for one in (JOB_ID, new_id(JOB, NOW))
        for name in ("acme", "other")
        for key in (KEY, OLD)
    }
    assert len(secrets) == 8
