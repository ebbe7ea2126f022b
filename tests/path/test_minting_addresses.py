"""Where tokens are had: a setting may be part of the address, and leads secrets nowhere else."""

import pytest

from receiver import Settings
from receiver.core.description.provider import Provider, describe
from receiver.core.errors import ConfigurationError
from receiver.keys import Keys

from .test_minting import OAUTH, SETTINGS


def with_settings(token_url: str, *origins: str) -> Provider:
    """A provider whose tokens are had at *token_url*."""
    return describe(
        {
            "name": "other",
            "title": "Another API",
            "sources": [{"url": "https://example.com", "read": "2026-11-20"}],
            "origins": ["https://api.example.com", *origins],
            "credentials": [{"prefix": "Bearer ", "mint": OAUTH | {"token_url": token_url}}],
        }
    )


def token_url_of(provider: Provider) -> str | None:
    """Where its tokens are had."""
    (credential,) = provider.credentials
    assert credential.mint is not None
    return credential.mint.token_url


@pytest.mark.parametrize(
    ("token_url", "values", "wanted"),
    [
        (
            "https://login.example/{setting:ACME_TENANT}/token",
            {"ACME_TENANT": "a b/c"},
            "https://login.example/a%20b%2Fc/token",
        ),
        (
            "https://{setting:ACME_REGION=eu}.login.example/token",
            {},
            "https://eu.login.example/token",
        ),
        (
            "https://{setting:ACME_REGION=eu}.login.example/token",
            {"ACME_REGION": "us-1"},
            "https://us-1.login.example/token",
        ),
        (
            "{setting:ACME_LOGIN}/oauth/token",
            {"ACME_LOGIN": "https://mine.login.example/"},
            "https://mine.login.example/oauth/token",
        ),
    ],
)
def test_a_tokens_address_may_be_an_accounts_own(token_url: str, values: dict[str, str], wanted: str) -> None:
    """Settings complete it as they do any address; what they lead to gets no credentials of the API's."""
    provider = with_settings(token_url, "https://*.login.example").completed(values)
    assert token_url_of(provider) == wanted
    assert provider.missing in {None, ()}
    moved = with_settings(token_url, "https://*.login.example").completed(values).at("http://127.0.0.1:9")
    assert token_url_of(moved) == "http://127.0.0.1:9/" + wanted.split("/", 3)[3]
    first = with_settings(token_url, "https://*.login.example").at("http://127.0.0.1:9").completed(values)
    assert token_url_of(first) == token_url_of(moved)


@pytest.mark.parametrize(
    ("token_url", "value"),
    [
        ("https://{setting:ACME_LOGIN}.login.example/token", "evil.example/"),
        ("https://{setting:ACME_LOGIN}.login.example/token", "a.b"),
        ("{setting:ACME_LOGIN}/token", "https://evil.example"),
        ("{setting:ACME_LOGIN}/token", "http://mine.login.example"),
        ("{setting:ACME_LOGIN}/token", "https://mine.login.example.evil.example"),
        ("{setting:ACME_LOGIN}/token", "https://mine.login.example@evil.example"),
    ],
)
def test_a_setting_leads_secrets_nowhere_else(token_url: str, value: str) -> None:
    """It is held against the pattern in origins; the sentence names the setting."""
    provider = with_settings(token_url, "https://*.login.example")
    with pytest.raises(ValueError, match="ACME_LOGIN"):
        provider.completed({"ACME_LOGIN": value})


def test_a_setting_in_a_tokens_host_needs_a_pattern() -> None:
    """Without one nothing would say where secrets may go."""
    for token_url in ("https://{setting:ACME_REGION}.login.example/token", "{setting:ACME_LOGIN}/token"):
        with pytest.raises(ValueError, match=r"token_url.*outside origins"):
            with_settings(token_url)


def test_a_tokens_setting_that_is_missing_is_told() -> None:
    """Nothing is asked at an address with a blank in it."""
    provider = with_settings("{setting:ACME_LOGIN}/token", "https://*.login.example").completed({})
    assert provider.missing == ("ACME_LOGIN",)
    with pytest.raises(ConfigurationError, match="ACME_LOGIN"):
        Keys(Settings.load(SETTINGS)).credentials(provider)
