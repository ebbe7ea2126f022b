"""Callbacks and answers that are easy to read wrongly, through the packaged descriptions."""

import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec.structs import replace
from standardwebhooks import Webhook

from receiver.core.asking import exchange
from receiver.core.asking.exchange import HttpResponse, Seen
from receiver.core.description.provider import Shape
from receiver.core.description.scheme import Scheme
from receiver.core.errors import UnreadableError
from receiver.core.job.admission import admit, examine, terms_for
from receiver.core.message import Message, lowered
from receiver.core.model import JobState, Observation, Verdict
from receiver.core.reading.observation import read, text_at
from receiver.core.signature.verify import Key, load_key, sign, verify
from tests.core.signature.samples import SCHEMES

from .making import LARGEST, NOW, PROVIDERS, job_of, scheme_of

#: A way of signing that tests/core/signature checks against the vendor's own package.
CHECKED = [
    "baseten",
    "cloudinary",
    "elevenlabs",
    "fal",
    "github",
    "mindee",
    "retell",
    "slack",
    "stripe",
    "twilio",
]
STANDARD = sorted(
    name
    for name, one in PROVIDERS.items()
    if one.verify is not None and one.verify.key_encoding == "whsec" and one.verify.kind == "hmac"
)


def seen(name: str, shape: str, document: object) -> Observation:
    """What a document of one of the provider's shapes says."""
    return read(Message(body=json.dumps(document).encode()), PROVIDERS[name].shapes[shape], largest=LARGEST)


@pytest.mark.parametrize("name", CHECKED)
def test_a_description_signs_as_the_vendors_package_does(name: str) -> None:
    """The table is the one that is held against the vendor's own package."""
    assert scheme_of(name) == SCHEMES[name]


@pytest.mark.parametrize("name", STANDARD)
def test_a_standard_webhook_of_an_independent_signer_is_accepted(name: str) -> None:
    """Every description of this kind takes what ``standardwebhooks`` signs."""
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"test": 2432232314}'
    at = datetime.fromtimestamp(NOW // 1000, UTC)
    headers = [
        (b"webhook-id", b"msg_1"),
        (b"webhook-timestamp", str(NOW // 1000).encode()),
        (b"webhook-signature", Webhook(secret).sign("msg_1", at, body).encode()),
    ]
    scheme = scheme_of(name)
    key = load_key("k", secret, scheme=scheme)
    verified = verify(Message(body=body.encode(), headers=headers), scheme=scheme, keys=[key], now=NOW)
    assert verified.delivery_id == "msg_1"


def test_standard_webhooks_are_in_wide_use() -> None:
    """None of them was lost to a slip in its table."""
    assert {"replicate", "openai", "openai-batch", "gemini", "anthropic", "browserbase", "pulse"} < set(
        STANDARD
    )


@pytest.mark.parametrize(
    ("name", "shape", "kind"),
    [
        ("openai", "event", "batch.completed"),
        ("openai-batch", "event", "response.completed"),
        ("gemini", "event", "batch.succeeded"),
        ("exa", "event", "webset.item.created"),
        ("mux", "event", "video.upload.created"),
        ("slack", "event", "url_verification"),
        ("parallel", "event", None),
    ],
)
def test_an_event_about_something_else_is_read_no_further(name: str, shape: str, kind: str | None) -> None:
    """One address hears of many things; what concerns no job of ours makes none."""
    with pytest.raises(UnreadableError) as refused:
        seen(name, shape, {"type": kind, "data": {"id": "x_1"}})
    assert refused.value.code == "event_of_no_job"


def test_the_address_of_a_result_follows_from_the_document() -> None:
    """A result whose address the document does not spell out is fetched where the API keeps it, at the end only."""
    done = {"id": "batch/1", "status": "completed", "output_file_id": "file?1"}
    assert seen("openai-batch", "batch", done).result_url == (
        "https://api.openai.com/v1/files/file%3F1/content"
    )
    assert seen("openai-batch", "batch", done | {"status": "in_progress"}).result_url is None
    event = {"type": "task_run.status", "data": {"run_id": "trun_1", "status": "completed"}}
    assert (
        seen("parallel", "event", event).result_url == "https://api.parallel.ai/v1/tasks/runs/trun_1/result"
    )


def test_without_a_file_the_document_is_the_result() -> None:
    """A batch whose every line failed has no output file; what is known of it is kept."""
    done = seen("openai-batch", "batch", {"id": "b", "status": "completed", "output_file_id": None})
    assert done.result_url is None
    assert done.result is not None


def test_a_proxied_description_keeps_its_templates() -> None:
    """Behind a base URL the result's address moves too."""
    shape = PROVIDERS["oxylabs"].at("http://127.0.0.1:9/oxylabs").shapes["job"]
    done = read(Message(body=b'{"id": "7", "status": "done"}'), shape, largest=LARGEST)
    assert done.result_url == "http://127.0.0.1:9/oxylabs/v1/queries/7/results"


def test_a_token_that_does_not_name_the_body_vouches_for_its_claims_only() -> None:
    """Whatever body comes with such a token, it is a reason to ask about the job, and nothing more."""
    scheme = Scheme(kind="jwt", header="X-Token", audience="me", key_encoding="jwk")
    provider = replace(
        PROVIDERS["gemini-dynamic"],
        verify=scheme,
        shapes=PROVIDERS["gemini-dynamic"].shapes
        | {"notification": Shape(content="claims", id=("data.id",))},
    )
    key = _rsa_key()
    body = b'{"type": "interaction.completed", "data": {"id": "forged"}}'
    headers = lowered(sign(body, scheme=scheme, key=key, now=NOW))
    message = Message(body=body.replace(b"forged", b"altered"), headers=headers)
    examined = examine(message, provider=provider, keys=[key], now=NOW, largest=LARGEST)
    assert examined.remote_id is None
    job = replace(job_of("gemini-dynamic"), state=JobState.RUNNING, remote_id="v1_abc")
    admission = admit(job, examined, callback_id="cb_1", now=NOW)
    assert admission.verdict is Verdict.ACCEPTED
    assert admission.move is not None
    assert admission.move.look_now
    assert not admission.move.completed
    assert admission.move.job.state is JobState.RUNNING


def _rsa_key() -> Key:
    pem = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return load_key(
        "k", pem.decode(), scheme=Scheme(kind="jwt", header="X", audience="me", key_encoding="pem")
    )


@pytest.mark.parametrize(
    "name", ["luma", "runpod", "oxylabs", "reducto", "apify", "dataforseo", "sarvam", "netnut"]
)
def test_an_unsigned_callback_tells_no_state(name: str) -> None:
    """Where nothing is signed and the job can be asked for, a callback tells its id, and at most hints at a failure."""
    provider = PROVIDERS[name]
    assert not provider.signed
    shape = provider.shape(provider.deliveries[0])
    assert (shape.status, shape.result, shape.result_url) == (None, None, None)
    assert {rule.state for rule in shape.rules} <= {JobState.RUNNING, JobState.FAILED}
    assert provider.poll is not None


@pytest.mark.parametrize("name", sorted(set(PROVIDERS)))
def test_every_way_to_deliver_can_end_a_job(name: str) -> None:
    """A callback that brings no result leads to an address, and one that does has a path for it."""
    provider = PROVIDERS[name]
    for delivery in provider.deliveries:
        if delivery == "result":
            assert provider.shape(delivery).result is not None
        else:
            assert provider.poll is not None
    if provider.poll is not None:
        answer = provider.shapes[provider.poll.answer]
        assert answer.result is not None or answer.result_url is not None
    if provider.callback is not None:
        assert terms_for(provider, key_id="k").deadline_ms == provider.deadline


def test_a_page_is_a_result_while_202_is_not() -> None:
    """Bright Data answers 202 until the page is there, and then with the page itself."""
    provider = PROVIDERS["brightdata-serp"]
    job = replace(
        job_of("brightdata-serp"),
        remote_id="s1",
        response_url="https://api.brightdata.com/serp/get_result?response_id=s1",
    )
    looking = exchange.status(provider, job, candidate_id=None, largest=LARGEST, now=NOW)
    next(looking)
    with pytest.raises(StopIteration) as end:
        looking.send(HttpResponse(status=202))
    assert not isinstance(end.value.value, Seen)
    looking = exchange.status(provider, job, candidate_id=None, largest=LARGEST, now=NOW)
    next(looking)
    with pytest.raises(StopIteration) as end:
        looking.send(HttpResponse(status=200, body=b"<!doctype html>\xff"))
    assert end.value.value.seen.result.content == b"<!doctype html>\xff"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"challenge": "abc"}', "abc"),
        (b'{"challenge": 1}', None),
        (b'{"challenge": "a\\nb"}', None),
        (b'{"other": "abc"}', None),
        (b"challenge=abc", None),
        (b"\xff", None),
        (b'{"challenge": "' + b"a" * 5000 + b'"}', None),
    ],
)
def test_a_challenge_is_a_short_printable_text(body: bytes, text: str | None) -> None:
    """What is repeated in an answer is what can do no harm there."""
    assert text_at(Message(body=body), "challenge") == text
