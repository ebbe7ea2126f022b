"""receiver.verify: one message, no database, no running receiver."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from receiver import RejectionError, verify
from receiver.core.errors import KeyUnavailableError, RequestError
from receiver.core.signature.verify import sign
from receiver.keys import Keys
from receiver.settings import Settings
from tests.providers.making import NOW, PROVIDERS, body_of, genuine, scheme_of

AT: Final = datetime.fromtimestamp(NOW / 1000, UTC)
#: As Pulse hands them out: the first of two that are in force.
SECRETS: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX,whsec_FxYVFBMSERAPDg0MCwoJCAcGBQQDAgEA"
PULSE: Final = genuine("pulse")


def settings(**environ: str) -> Settings:
    """Settings with a provider's key in them."""
    return Settings.load(environ)


def test_a_message_is_verified_by_the_keys_of_the_settings() -> None:
    """Where no keys are given, those that the settings name are tried, as of the time that is asked about."""
    given = settings(PULSE_WEBHOOK_SECRET=SECRETS)
    proved = verify("pulse", body=PULSE.body, headers=PULSE.headers, at=AT, settings=given)
    assert (proved.key_id, proved.delivery_id, proved.timestamp) == ("PULSE_WEBHOOK_SECRET#1", "msg_1", NOW)
    with pytest.raises(RejectionError) as refused:
        verify("pulse", body=PULSE.body, headers=PULSE.headers, at=AT + timedelta(hours=1), settings=given)
    assert refused.value.code == "timestamp_stale"


def test_keys_may_be_given() -> None:
    """They are written as they would be configured, and count instead of the settings'."""
    first, second = SECRETS.split(",")
    for keys in ([first], [second, first]):
        assert verify("pulse", body=PULSE.body, headers=PULSE.headers, keys=keys, at=AT, settings=settings())
    with pytest.raises(RejectionError):
        verify("pulse", body=PULSE.body, headers=PULSE.headers, keys=[second], at=AT, settings=settings())


@pytest.mark.parametrize("form", [str.upper, str.title, str.lower])
def test_headers_come_in_any_letter_case_and_as_mapping_or_pairs(form: Callable[[str], str]) -> None:
    """Frameworks hand headers over as they like; what was sent twice is refused in any of their spellings."""
    keys = SECRETS.split(",")[:1]
    pairs = [(form(name.decode()).encode(), value) for name, value in PULSE.headers]
    mapping = {name.decode(): value.decode() for name, value in pairs}
    for headers in (pairs, mapping, list(mapping.items())):
        assert verify("pulse", body=PULSE.body, headers=headers, keys=keys, at=AT, settings=settings())
    twice = [*pairs, (b"wEBHOOK-iD", b"msg_2")]
    with pytest.raises(RejectionError) as refused:
        verify("pulse", body=PULSE.body, headers=twice, keys=keys, at=AT, settings=settings())
    assert refused.value.code == "signature_malformed"


def test_a_key_in_a_file_is_read_for_each_message(tmp_path: Path) -> None:
    """A rotation that writes the file anew needs no restart; one in the environment is of the process."""
    file = tmp_path / "secret"
    keys = Keys(settings(PULSE_WEBHOOK_SECRET_FILE=str(file)))
    first, second = SECRETS.split(",")
    seen = []
    for text in (first, second, f"{first},{second}"):
        file.write_text(text, encoding="utf-8")
        seen.append([key.secret for key in keys.verifying(PROVIDERS["pulse"], job_id=None, master=None)])
    assert seen == [seen[0], seen[1], [*seen[0], *seen[1]]]
    assert seen[0] != seen[1]


def test_a_jobs_own_key_is_found_by_the_token_in_its_url() -> None:
    """Where each job has a key, the URL that the message was sent to says which; without it there is none."""
    given = settings(RECEIVER_SECRET_KEY="a master key that is long enough")
    keys = Keys(given)
    job_id = f"job_{NOW:012x}7000800000000000000a"
    token = keys.mint(job_id, provider="brightdata")
    provider, scheme = PROVIDERS["brightdata"], scheme_of("brightdata")
    (key,) = keys.verifying(provider, job_id=job_id, master=keys.newest)
    body = body_of("brightdata")
    headers = sign(body, scheme=scheme, key=key, now=NOW)
    url = f"https://hooks.example/callbacks/brightdata/{token}"
    assert verify("brightdata", body=body, headers=headers, url=url, at=AT, settings=given).authenticated
    with pytest.raises(KeyUnavailableError):
        verify("brightdata", body=body, headers=headers, at=AT, settings=given)


def test_what_cannot_be_verified_says_why() -> None:
    """No key, an unknown provider and one that signs nothing are told apart."""
    with pytest.raises(KeyUnavailableError) as missing:
        verify("pulse", body=PULSE.body, headers=PULSE.headers, at=AT, settings=settings())
    assert "PULSE_WEBHOOK_SECRET" in str(missing.value)
    unsigned = next(name for name, one in PROVIDERS.items() if one.callback is not None and not one.signed)
    for name, code in (("nobody", "provider_unknown"), (unsigned, "unsigned_provider")):
        with pytest.raises(RequestError) as refused:
            verify(name, body=b"{}", headers=[], settings=settings())
        assert refused.value.code == code
