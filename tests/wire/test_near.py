"""Addresses that are nearly one of ours: each kind is named, and whatever else comes is nobody's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.signature.token import check, master_key, mint
from receiver.steps.proving import Way
from receiver.wire.front import address_of
from receiver.wire.near import near
from tests.core.making import SIGNED, acme

KEY = master_key("a master key for tests that is long enough")
JOB = "job_" + "01" * 16
PROVIDERS = {
    "shared": acme(**SIGNED, name="shared"),
    "waker": acme(name="waker", callback={"where": "body", "path": "u", "delivers": "notification"}),
}
TOKEN = mint(JOB, provider="waker", key=KEY)


def ways(provider: str, token: str | None) -> Way | None:
    """Where an address leads, as ingest says it."""
    found = PROVIDERS.get(provider)
    if found is None:
        return None
    if token is None:
        return Way(provider=found) if found.signed else None
    named = check(token, provider=provider, keys=[KEY])
    return None if named is None else Way(provider=found, job_id=named[0], master=named[1])


@pytest.mark.parametrize(
    ("path", "kind", "provider"),
    [
        (f"/callbacks/waker/{TOKEN}/", "trailing_slash", "waker"),
        (f"//callbacks/waker/{TOKEN}", "slash_doubled", "waker"),
        (f"/callbacks//waker/{TOKEN}", "slash_doubled", "waker"),
        (f"/callbacks/waker/callbacks/waker/{TOKEN}", "path_doubled", "waker"),
        (f"/callbacks/waker/{TOKEN}/callbacks/waker/{TOKEN}", "path_doubled", "waker"),
        (f"/webhooks/shared/callbacks/waker/{TOKEN}", "path_doubled", "waker"),
        (f"/hooks/callbacks/waker/{TOKEN}", "path_prefixed", "waker"),
        (f"/waker/{TOKEN}", "path_cut", "waker"),
        (f"/callback/waker/{TOKEN}", "path_misspelled", "waker"),
        (f"/hooks/calbacks/waker/{TOKEN}", "path_misspelled", "waker"),
        ("/webhook/shared", "path_misspelled", "shared"),
        (f"/callbacks/waker/{TOKEN}x", "token_longer", "waker"),
        (f"/callbacks/waker/{TOKEN[:-1]}", "token_shorter", "waker"),
        (f"/callbacks/waker/{TOKEN[1:]}", "token_shorter", "waker"),
        (f"/callbacks/waker/{TOKEN}/done", "path_longer", "waker"),
        (f"/Callbacks/waker/{TOKEN}", "wrong_case", "waker"),
        (f"/callbacks/Waker/{TOKEN}", "wrong_case", "waker"),
        (f"/callbacks/waker/{TOKEN}.", "stray_character", "waker"),
        (f'/callbacks/waker/{TOKEN}"', "stray_character", "waker"),
        (f"/callbacks/waker/{TOKEN}=", "stray_character", "waker"),
        (f"/callbacks/waker/{TOKEN};jsessionid=1", "stray_character", "waker"),
        (f"/callbacks/waker/({TOKEN}).", "stray_character", "waker"),
        (f"/callbacks/./waker/{TOKEN}", "stray_character", "waker"),
        (f"/callbacks/shared/{TOKEN}", "wrong_provider", "waker"),
        (f"/callbacks/unheard-of/{TOKEN}", "wrong_provider", "waker"),
        (f"/webhooks/waker/{TOKEN}", "wrong_route", "waker"),
        ("/callbacks/waker", "token_missing", "waker"),
        ("/callbacks/waker/", "token_missing", "waker"),
        ("/webhooks/waker", "no_shared_address", "waker"),
        ("/webhooks/shared/", "trailing_slash", "shared"),
        ("/webhooks/Shared", "wrong_case", "shared"),
        ("/webhooks/webhooks/shared", "path_doubled", "shared"),
        ("/hooks/webhooks/shared", "path_prefixed", "shared"),
        ("/webhooks/shared/events", "path_longer", "shared"),
    ],
)
def test_each_kind_is_named(path: str, kind: str, provider: str) -> None:
    """With whose it is, and the job where the token is good."""
    found = near(path, ways=ways, names=PROVIDERS)
    assert found is not None
    assert (found.kind, found.provider) == (kind, provider)
    assert (found.way is not None and found.way.job_id == JOB) == (TOKEN in path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/callbacks",
        "/webhooks/unheard-of",
        "/wp-login.php",
        "/callbacks/waker/" + "A" * 50,
        f"/callbacks/waker/{TOKEN[:-5]}",
        f"/callbacks/unheard-of/{TOKEN[:-1]}",
        "/callbacks/waker/" + "/".join("a" * 20),
        f"/callbacks/waker/{TOKEN}/" + "x" * 3000,
    ],
)
def test_what_is_not_near_is_nobodys(path: str) -> None:
    """Guesses, scans, halves of tokens and endless paths are told apart by nothing."""
    assert near(path, ways=ways, names=PROVIDERS) is None


@given(path=st.text(st.sampled_from("/callbackswerhoCW .\"'é\x00"), max_size=60))
def test_no_path_breaks_it(path: str) -> None:
    """Whatever is asked for: nothing, or a provider that there is; and without a token never a job."""
    found = near(path, ways=ways, names=PROVIDERS)
    assert found is None or (found.provider in PROVIDERS and found.way is None)


@given(
    parts=st.lists(st.sampled_from(["callbacks", "webhooks", "waker", "shared", TOKEN, "", "x"]), max_size=8)
)
def test_what_is_an_address_is_not_looked_at_for_long(parts: list[str]) -> None:
    """A good address is never taken for a near miss of another job."""
    path = "/" + "/".join(parts)
    found, address = near(path, ways=ways, names=PROVIDERS), address_of(path)
    if (
        address is not None
        and (way := ways(address.provider, address.token)) is not None
        and found is not None
    ):
        assert found.way is None or found.way.job_id == way.job_id
