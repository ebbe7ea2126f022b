"""Files that do not come as they should: gone on with, fetched again, or lost with a code; on real sockets."""

import asyncio
import base64
import hashlib
import time

import pytest

from receiver import JobState, Receiver
from receiver.core.file import FileState
from tests.path.stub import Reply, always
from tests.path.world import ended, until

from .conftest import Here, poll, states
from .shelf import Kept

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

STORED, LOST, WAITING = FileState.STORED, FileState.LOST, FileState.WAITING
MIB = 1024 * 1024


async def lost(here: Here, kept: Kept, **settings: str) -> str | None:
    """The code with which the only file of a job is lost; the job succeeds, and nothing of the file is left."""
    here.links(it=kept)
    async with here.receiver(None, **settings) as receiver:
        job = await here.run(receiver)
        assert job.state is JobState.SUCCEEDED
        (file,) = job.files
        assert file.state is LOST
        record = await receiver.running.store.record(job.id)
    assert here.kept() == here.unfinished() == []
    told = [(one.outcome, one.code) for one in record.attempts if one.step == "file"]
    assert told[-1] == ("lost", file.code)
    return file.code


async def test_a_break_is_gone_on_with(here: Here) -> None:
    """After a break it is asked for the rest alone, and every byte is there once."""
    kept = Kept(size=8 * MIB, breaks_after=3 * MIB, breaks=2)
    here.links(it=kept)
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    (file,) = job.files
    assert (file.state, file.size, file.sha256) == (STORED, 8 * MIB, kept.sha256)
    first, *others = here.shelf.gets("it")
    assert first.header("range") is None
    assert len(others) == 2
    for one in others:
        assert (one.header("range") or "").startswith("bytes=")
        assert one.header("if-range") == '"one"'


async def test_another_entity_is_begun_anew(here: Here) -> None:
    """What changed between two answers is fetched from its beginning: no file is half of one and half of another."""
    kept = Kept(body=b"a" * MIB, breaks_after=MIB // 2, breaks=1)
    here.links(it=kept)

    def change() -> bool:
        if here.shelf.gets("it") and not kept.breaks:
            kept.body, kept.etag = b"b" * MIB, '"two"'
            return True
        return False

    async with here.receiver() as receiver:
        changing = asyncio.create_task(until(change, pause=0.005))
        job = await here.run(receiver)
        await changing
    (file,) = job.files
    assert (file.state, file.sha256) == (STORED, hashlib.sha256(b"b" * MIB).hexdigest())


async def test_a_server_without_ranges_is_asked_for_all_again(here: Here) -> None:
    """It answers the whole to a question for the rest."""
    kept = Kept(size=2 * MIB, ranges=False, breaks_after=MIB, breaks=1)
    here.links(it=kept)
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    assert [(one.state, one.sha256) for one in job.files] == [(STORED, kept.sha256)]


@pytest.mark.parametrize(
    "headers",
    [
        {"content-md5": base64.b64encode(b"x" * 16).decode()},
        {"repr-digest": "sha-256=:" + base64.b64encode(b"x" * 32).decode() + ":"},
        {"x-amz-checksum-crc32": base64.b64encode(b"x" * 4).decode()},
    ],
)
async def test_bytes_with_another_digest_are_not_kept(here: Here, headers: dict[str, str]) -> None:
    """They are fetched again, and stored once they are those that the sender names."""
    kept = Kept(body=b"right" * 1000, headers=headers)
    here.links(it=kept)
    async with here.receiver() as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)

        async def refused() -> bool:
            return states(await receiver.files(job.id)) == [(WAITING, "file_digest_mismatch")]

        await until(refused)
        assert (await receiver.job(job.id)).state is JobState.FETCHING
        assert here.kept() == []
        kept.headers = {"content-md5": base64.b64encode(hashlib.md5(kept.body).digest()).decode()}  # noqa: S324
        job = await receiver.wait(job.id, timeout=40)
    assert states(job.files) == [(STORED, None)]


async def test_a_file_is_no_larger_than_it_may_be(here: Here) -> None:
    """By what it says of itself, or by what comes: endless ones are stopped at the bound."""
    here.describe('[[files]]\npath = "links.*"\nlargest = "1MiB"\n')
    assert await lost(here, Kept(size=2 * MIB)) == "file_too_large"
    assert await lost(here, Kept(size=200 * MIB, length=-1)) == "file_too_large"


async def test_settings_bound_a_file_and_a_job(here: Here) -> None:
    """RECEIVER_MAX_FILE for each, RECEIVER_MAX_FILES_SIZE for all of a job, RECEIVER_MAX_FILES for their number."""
    assert await lost(here, Kept(size=MIB), RECEIVER_MAX_FILE=str(MIB - 1)) == "file_too_large"
    assert await lost(here, Kept(size=MIB), RECEIVER_MAX_FILES_SIZE=str(MIB - 1)) == "file_too_large"
    here.links(**{f"n{number}": Kept(body=b"%d" % number) for number in range(5)})
    async with here.receiver(RECEIVER_MAX_FILES="2") as receiver:
        job = await here.run(receiver)
        record = await receiver.running.store.record(job.id)
    assert states(job.files) == [(STORED, None)] * 2 + [(LOST, "too_many_files")] * 3
    (told,) = (one for one in record.attempts if one.step == "files")
    assert (told.code, told.detail) == ("too_many_files", {"files": 5, "lost": 3})


async def test_a_link_that_is_gone_is_asked_for_anew_once(here: Here) -> None:
    """By one poll for all files of the job; the fresh links that it brings are followed."""
    names = [f"n{number}" for number in range(6)]
    here.links(**{name: Kept(body=name.encode(), status=403) for name in names})

    def fresh() -> None:
        if here.shelf.polls > 1:
            here.links(**{f"fresh-{name}": Kept(body=name.encode()) for name in names})

    here.shelf.polled = fresh
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    assert states(job.files) == [(STORED, None)] * 6
    assert here.shelf.polls == 2


_STORE_SAYS = b"<?xml version='1.0'?><Error><Code>%b</Code><Message>%b</Message></Error>"


@pytest.mark.parametrize(
    "body",
    [
        _STORE_SAYS % (b"ExpiredToken", b"The provided token has expired."),
        _STORE_SAYS % (b"AuthenticationFailed", b"Server failed to authenticate the request."),
        _STORE_SAYS % (b"AccessDenied", b"Request has expired"),
    ],
)
async def test_a_link_that_has_expired_is_asked_for_anew(here: Here, body: bytes) -> None:
    """Object stores say so with 400, too: the provider is asked for a fresh link, once; then it is lost."""
    here.links(it=Kept(body=body, status=400))

    def fresh() -> None:
        if here.shelf.polls > 1:
            here.links(fresh=Kept(body=b"fresh"))

    here.shelf.polled = fresh
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    assert [(one.state, one.size) for one in job.files] == [(STORED, 5)]
    assert here.shelf.polls == 2
    assert len(here.shelf.gets("it")) == 1


async def test_a_link_that_stays_expired_is_lost(here: Here) -> None:
    """No fresh link helps; an endless body of such an answer is read as far as its reason is."""
    expired = _STORE_SAYS % (b"ExpiredToken", b"The provided token has expired.")
    assert await lost(here, Kept(body=expired + b" " * (64 * MIB), status=400, length=-1)) == "file_gone"
    assert here.shelf.polls == 2
    assert here.shelf.sent < 32 * MIB


async def test_another_bad_request_is_tried_again(here: Here) -> None:
    """A 400 that says nothing of the kind asks nobody for fresh links."""
    here.links(it=Kept(body=b"<Error><Code>InvalidArgument</Code></Error>", status=400))
    async with here.receiver() as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)

        async def waits() -> bool:
            return states(await receiver.files(job.id)) == [(WAITING, "status_400")]

        await until(waits)
    assert here.shelf.polls == 1


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_what_is_gone_for_good_is_lost(here: Here, status: int) -> None:
    """Asked for anew once, and no fresh link helps: lost, with the job succeeding, and its handlers see it."""
    assert await lost(here, Kept(body=b"x", status=status)) == "file_gone"
    assert here.shelf.polls == 2


async def test_what_cannot_be_had_is_lost_when_its_provider_deletes_it(here: Here) -> None:
    """Every attempt fails until ``keeps`` ends: one more is made then, and the wait has an end."""
    here.describe('[[files]]\npath = "links.*"\nkeeps = "2s"\n')
    begun = time.monotonic()
    assert await lost(here, Kept(body=b"x", status=500)) == "file_unreachable"
    assert time.monotonic() - begun >= 2
    assert len(here.shelf.gets("it")) >= 2


async def test_retry_after_keeps_the_origin_in_peace(here: Here) -> None:
    """429 with Retry-After: nothing is asked there before that."""
    kept = Kept(body=b"x", status=429, headers={"retry-after": "2"})
    here.links(it=kept)
    async with here.receiver() as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)
        await until(lambda: bool(here.shelf.gets("it")))
        kept.status, kept.headers = 200, {}
        job = await receiver.wait(job.id, timeout=40)
    assert states(job.files) == [(STORED, None)]
    first, second = (one.at for one in here.shelf.gets("it"))
    assert second - first >= 2


@pytest.mark.parametrize(
    "link",
    [
        "https://127.0.0.1/x",
        "https://10.1.2.3/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x",
        "https://localhost/x",
        "http://cdn.example/x",
        "ftp://cdn.example/x",
        "file:///etc/passwd",
        "https://user:secret@cdn.example/x",
        "https://cdn.example/\0x",
        "https://cdn.example/" + "x" * 9000,
        "data:image/png;base64,!!!",
    ],
)
async def test_links_that_lead_astray_are_refused(here: Here, link: str) -> None:
    """Nothing is asked, and the file is lost with a code."""
    here.shelf.result = {"links": [link]}
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    assert states(job.files) == [(LOST, "file_refused")]
    assert here.kept() == here.unfinished() == []


async def test_a_redirect_to_a_private_address_is_refused(here: Here) -> None:
    """Nobody is asked there; within what may be asked redirects are followed, at most five, without credentials."""
    async with always(Reply(body=b"private")) as other:
        here.links(it=Kept(status=302, headers={"location": f"{other.url}/secret"}))
        async with here.receiver() as receiver:
            job = await here.run(receiver)
        assert states(job.files) == [(LOST, "file_refused")]
        assert other.asked == []


async def test_redirects_are_followed_five_times(here: Here) -> None:
    """The fifth may lead to the file, a sixth is not followed."""
    here.shelf.put("target", Kept(body=b"here"))
    for number in range(1, 6):
        where = "/target" if number == 5 else f"/r{number + 1}"
        here.shelf.put(f"r{number}", Kept(status=307, headers={"location": where}))
    here.shelf.put("r0", Kept(status=307, headers={"location": "/r1"}))
    here.shelf.result = {"links": [f"{here.shelf.url}/r1", f"{here.shelf.url}/r0"]}
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    assert states(job.files) == [(STORED, None), (LOST, "file_refused")]


async def test_credentials_go_where_the_description_says(here: Here) -> None:
    """Only to listed origins, only with ``authenticated``, and never along a redirect."""
    credential = '[[credentials]]\nprefix = "Bearer "\nsecret = "env:MADE_UP_KEY"\n'
    here.environ["MADE_UP_KEY"] = "the key of the provider"
    here.describe(
        f'{credential}[[files]]\npath = "ours.*"\nauthenticated = true\n[[files]]\npath = "links.*"\n'
    )
    here.links(plain=Kept(body=b"1"))
    here.shelf.put("led", Kept(body=b"3"))
    ours = [
        here.shelf.put("with", Kept(body=b"2")),
        here.shelf.put("leads", Kept(status=302, headers={"location": "/led"})),
    ]
    here.shelf.result["ours"] = ours
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    assert states(job.files) == [(STORED, None)] * 3
    sent = {
        name: here.shelf.gets(name)[0].header("authorization") for name in ("plain", "with", "leads", "led")
    }
    assert sent == {
        "plain": None,
        "with": "Bearer the key of the provider",
        "leads": "Bearer the key of the provider",
        "led": None,
    }


async def test_bytes_that_are_packed_stay_so(here: Here) -> None:
    """Decompression is never applied: what is stored is what was sent."""
    here.links(it=Kept(body=b"\x1f\x8bno gzip at all", headers={"content-encoding": "gzip"}))
    async with here.receiver() as receiver:
        job = await here.run(receiver)
    assert [one.read_bytes() for one in here.kept()] == [b"\x1f\x8bno gzip at all"]
    assert here.shelf.gets("it")[0].header("accept-encoding") == "identity"
    assert states(job.files) == [(STORED, None)]


async def test_files_beside_come_after_the_job_has_ended(here: Here) -> None:
    """Handlers are called at once, and see what is still on its way; it is stored all the same."""
    kept = Kept(size=4 * 64 * 1024, pause=0.3)
    here.links(it=kept)
    seen: list[list[tuple[FileState, str | None]]] = []

    def prepare(receiver: Receiver) -> None:
        @receiver.on("made-up", name="h")
        async def note(job: object) -> None:
            seen.append(states(job.files))  # type: ignore[attr-defined]

    async with here.receiver(prepare) as receiver:
        job = await here.run(receiver, files="beside")
        assert job.state is JobState.SUCCEEDED
        await ended(receiver, job)
        assert seen in ([[(WAITING, None)]], [[]])

        async def stored() -> bool:
            return states(await receiver.files(job.id)) == [(STORED, None)]

        await until(stored)
        assert (await receiver.job(job.id)).ended_at == job.ended_at
        assert len(seen) == 1


async def test_files_never_costs_nothing(here: Here) -> None:
    """Nothing is asked for, and nothing is recorded."""
    here.links(it=Kept(body=b"x"))
    async with here.receiver() as receiver:
        job = await here.run(receiver, files="never")
        assert job.files == await receiver.files(job.id) == ()
    assert here.shelf.gets("it") == []


async def test_a_job_may_be_given_up_without_its_files(here: Here) -> None:
    """It succeeds with what is here; the others are lost with a code."""
    here.links(good=Kept(body=b"x"), bad=Kept(body=b"y", status=500))
    async with here.receiver() as receiver:
        job = await receiver.submit("made-up", {"a": 1})
        await poll(receiver, job)

        async def half() -> bool:
            return states(await receiver.files(job.id)) == [(STORED, None), (WAITING, "status_500")]

        await until(half)
        await receiver.running.store.abandon(job.id, now=receiver.running.clock())
        job = await receiver.wait(job.id, timeout=40)
    assert job.state is JobState.SUCCEEDED
    assert states(job.files) == [(STORED, None), (LOST, "file_abandoned")]
