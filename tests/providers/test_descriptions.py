"""What every packaged description promises about itself."""

import re
from datetime import date
from importlib.resources import files
from pathlib import Path

import msgspec
import pytest

from receiver.catalog import Catalog, check_samples, load_file
from receiver.core.description import parts, shape
from receiver.core.description.provider import Provider, describe
from receiver.core.description.scheme import Scheme
from receiver.settings import Settings

from .making import PROVIDERS, SIGNED, SUBMITTING

#: Where a vendor's variables begin otherwise than with the provider's name.
PREFIXES = {
    "azure-document-intelligence": "DOCUMENTINTELLIGENCE_",
    "cohere-batch": "CO_",
    "huggingface-jobs": "HF_",
    "landingai": "VISION_AGENT_",
    "llamaparse": "LLAMA_CLOUD_",
    "luma": "LUMAAI_",
    "runway": "RUNWAYML_",
    "standard-webhooks": "STANDARD_WEBHOOKS_",
    "zyte": "SH_",
}


def references(value: object) -> list[str]:
    """Every ``env:`` and ``file:`` reference in a description."""
    if isinstance(value, str):
        return [value] if value.startswith(("env:", "file:")) else []
    if isinstance(value, dict):
        return [one for child in value.values() for one in references(child)]
    return [one for child in value for one in references(child)] if isinstance(value, (list, tuple)) else []


def test_the_field_is_covered() -> None:
    """At least 36 APIs are described, most of them with submission."""
    assert len(PROVIDERS) >= 36
    assert len(SUBMITTING) >= 30
    assert len(SIGNED) >= 25


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_description_cites_its_sources(name: str) -> None:
    """Each source has an https address and the day it was read; what they leave open is said in sentences."""
    provider = PROVIDERS[name]
    assert provider.sources
    for source in provider.sources:
        assert source.url.startswith("https://")
        assert date.fromisoformat(source.read) <= date(2026, 11, 30)
    assert provider.unverified
    for sentence in provider.unverified:
        assert sentence.endswith(".")


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_samples_read_as_said(name: str) -> None:
    """``receiver providers check`` finds nothing wrong."""
    provider = PROVIDERS[name]
    assert provider.samples
    assert check_samples(provider) == []


@pytest.mark.parametrize("name", PROVIDERS)
def test_secrets_have_the_vendors_own_names(name: str) -> None:
    """Every secret comes from the environment, under a name that begins as the vendor's do."""
    found = references(msgspec.to_builtins(PROVIDERS[name], enc_hook=int))
    prefix = PREFIXES.get(name, name.partition("-")[0].upper() + "_")
    assert all(one.startswith("env:" + prefix) for one in found), found


@pytest.mark.parametrize("name", SUBMITTING)
def test_what_is_submitted_has_credentials_and_an_end(name: str) -> None:
    """Whoever takes jobs is authenticated to, and each job's end can be learned."""
    provider = PROVIDERS[name]
    assert provider.credentials
    assert provider.poll is not None or provider.callback is not None
    assert provider.deadline > 0


@pytest.mark.parametrize("name", sorted(set(PROVIDERS) - set(SUBMITTING)))
def test_what_only_calls_back_is_signed(name: str) -> None:
    """Without a submission there is no token, so only a signature can vouch for a callback."""
    provider = PROVIDERS[name]
    assert provider.signed
    assert provider.callback is not None
    assert provider.callback.where == "registered"
    assert not provider.origins


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_proxy_replaces_every_address(name: str) -> None:
    """With RECEIVER_<PROVIDER>_BASE_URL no address of the API is left, templates included."""
    provider = PROVIDERS[name]
    elsewhere = provider.at("http://127.0.0.1:9/p")
    text = msgspec.json.encode(
        {
            "submit": elsewhere.submit,
            "operations": elsewhere.operations,
            "poll": elsewhere.poll and elsewhere.poll.url,
            "cancel": elsewhere.cancel,
            "shapes": elsewhere.shapes,
        },
        enc_hook=int,
    ).decode()
    assert not any(origin + "/" in text for origin in provider.origins)


def test_an_audience_may_be_a_setting(tmp_path: Path) -> None:
    """The audience of a token is an account's own: it is read when the catalog is loaded."""
    (tmp_path / "acme.toml").write_text(
        """
name = "acme"
title = "Acme"
sources = [{ url = "https://acme.example/docs", read = "2026-11-20" }]
callback = { where = "registered" }
verify = { scheme = "jwt", header = "X-Token", key_encoding = "jwk", audience = "env:ACME_AUDIENCE" }
key = { source = "jwks", url = "https://acme.example/jwks.json" }
[shapes.result]
content = "claims"
id = ["sub"]
""",
        encoding="utf-8",
    )
    environ = {"ACME_AUDIENCE": "projects/mine", "RECEIVER_PROVIDERS_DIR": str(tmp_path)}
    verify = Catalog.load(Settings.load(environ))["acme"].verify
    assert verify is not None
    assert verify.audience == "projects/mine"


def example(**changes: object) -> Provider:
    """A small description with *changes*."""
    return describe(
        {
            "name": "acme",
            "title": "Acme",
            "origins": ["https://api.acme.example"],
            "sources": [{"url": "https://acme.example/docs", "read": "2026-11-20"}],
            "submit": {"url": "https://api.acme.example/jobs"},
            "poll": {"url": ["https://api.acme.example/jobs/{id}"]},
            "shapes": {"answer": {"id": ["id"]}},
            **changes,
        }
    )


JWT = {"scheme": "jwt", "header": "X-Token", "audience": "me", "key_encoding": "jwk"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"shapes": {"answer": {"result_url": "https://evil.example/{id}"}}}, "outside origins"),
        (
            {"submit": {"url": "https://api.acme.example/j", "cancel_url": "https://evil.example/"}},
            "outside origins",
        ),
        (
            {
                "callback": {"where": "body", "path": "url", "result": "answer"},
                "verify": JWT,
                "key": {"source": "jwks", "url": "https://acme.example/jwks.json"},
            },
            "vouches for its claims only",
        ),
        (
            {"callback": {"where": "registered", "secret_path": "s"}, "verify": {"scheme": "none"}},
            "secret_path needs a place",
        ),
        (
            {
                "callback": {"where": "body", "path": "u", "encode": "base64-json"},
                "verify": {"scheme": "none"},
            },
            "encoded_path",
        ),
        ({"callback": {"where": "body", "path": "u", "ack": 302}, "verify": {"scheme": "none"}}, "299"),
    ],
)
def test_a_description_that_cannot_hold_is_refused(changes: dict[str, object], sentence: str) -> None:
    """A wrong description is refused when it is loaded, with the reason."""
    with pytest.raises(msgspec.ValidationError, match=sentence):
        example(**changes)


README = (files("receiver.providers") / "README.md").read_text("utf-8")


def test_the_worked_example_is_a_description(tmp_path: Path) -> None:
    """The example of the README loads, and its sample reads as it says."""
    example_toml = README.partition("<!-- acme.toml -->\n```toml\n")[2].partition("```")[0]
    file = tmp_path / "acme.toml"
    file.write_text(example_toml, encoding="utf-8")
    assert check_samples(load_file(file)) == []


def tables(kind: type) -> list[tuple[str, str]]:
    """Every key of a description, with the table that it stands in."""
    keys = [(kind.__name__, one.encode_name) for one in msgspec.structs.fields(kind)]
    return [one for one in keys if one not in {("Provider", "relocated"), ("Provider", "missing")}]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        one
        for kind in (Provider, Scheme, *vars(parts).values(), *vars(shape).values())
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        for one in tables(kind)
    ],
)
def test_every_key_is_in_the_readme(table: str, key: str) -> None:
    """The README names each key that a description may have."""
    assert re.search(rf"`[^`\n]*\b{re.escape(key)}\b[^`\n]*`", README), f"{table}.{key}"


@pytest.mark.parametrize(
    "provider",
    [one for one in PROVIDERS.values() if any(place.path for place in one.files)],
    ids=lambda one: one.name,
)
def test_every_place_of_files_has_a_sample(provider: Provider) -> None:
    """A description that has linked files fetched shows a result with some; the check counts what it links to."""
    assert any(sample.files for sample in provider.samples)
    assert check_samples(provider) == []
