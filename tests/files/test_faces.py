"""Files over ``/v1`` and on the command line: parts, names, types, and what is refused."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from receiver import Job, Receiver
from receiver.client import ApiError, AsyncClient, Client
from tests.ports import free_port
from tests.providers.world import serving

from .conftest import Here
from .cutting import cutting
from .shelf import Kept

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@asynccontextmanager
async def client(receiver: Receiver) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody with the API token."""
    transport = httpx.ASGITransport(receiver.asgi)
    headers = {"authorization": "Bearer the API token of the tests"}
    async with httpx.AsyncClient(transport=transport, base_url="http://here", headers=headers) as http:
        yield http


@asynccontextmanager
async def served(receiver: Receiver) -> AsyncIterator[str]:
    """A receiver on a socket; its address."""
    port = free_port()
    async with serving(receiver.asgi, port):
        yield f"http://127.0.0.1:{port}"


async def test_files_are_listed_and_read_over_http(here: Here) -> None:
    """The list says how each stands; bytes come whole, in parts, not at all where the caller has them."""
    kept = Kept(size=300_000)
    here.links(a=kept, b=Kept(body=b"x", status=410))
    async with here.receiver() as receiver, client(receiver) as http:
        job = await here.run(receiver)
        path = f"/v1/jobs/{job.id}/files"
        first, second = (await http.get(path)).json()["files"]
        assert (first["number"], first["name"], first["state"], first["size"]) == (1, "a", "stored", 300_000)
        assert (second["state"], second["code"], second["source"]) == (
            "lost",
            "file_gone",
            f"{here.shelf.url}/b",
        )
        assert (await http.get(f"/v1/jobs/{job.id}")).json()["files"] == [first, second]
        whole = await http.get(f"{path}/1")
        assert (whole.status_code, whole.content) == (200, kept.part(0, 300_000))
        assert whole.headers["etag"] == f'"{kept.sha256}"'
        assert whole.headers["content-disposition"].startswith('attachment; filename="a.png"')
        assert whole.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in whole.headers["content-security-policy"]
        for asked, start, end in (("0-9", 0, 10), ("299990-", 299_990, 300_000), ("-5", 299_995, 300_000)):
            part = await http.get(f"{path}/1", headers={"range": f"bytes={asked}"})
            assert (part.status_code, part.content) == (206, kept.part(start, end))
            assert part.headers["content-range"] == f"bytes {start}-{end - 1}/300000"
        known = await http.get(f"{path}/1", headers={"if-none-match": whole.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
        other = await http.get(f"{path}/1", headers={"range": "bytes=0-9", "if-range": '"other"'})
        assert (other.status_code, len(other.content)) == (200, 300_000)
        beyond = await http.get(f"{path}/1", headers={"range": "bytes=300000-"})
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, "bytes */300000")
        for number, code in (("2", "file_not_stored"), ("3", "file_not_found"), ("x", "file_not_found")):
            refused = await http.get(f"{path}/{number}")
            assert (refused.status_code, refused.json()["code"]) == (404, code)


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("image/png", "image/png"),
        ("VIDEO/mp4; codecs=x", "video/mp4"),
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("application/javascript", "application/octet-stream"),
        ("application/pdf", "application/octet-stream"),
        ("text/plain ;charset=utf-8", "text/plain"),
    ],
)
async def test_no_type_leaves_that_a_browser_would_run(here: Here, said: str, sent: str) -> None:
    """Whatever the provider called it."""
    here.links(it=Kept(body=b"<script>alert(1)</script>", headers={"content-type": said}))
    async with here.receiver() as receiver, client(receiver) as http:
        job = await here.run(receiver)
        answer = await http.get(f"/v1/jobs/{job.id}/files/1")
    assert answer.headers["content-type"] == sent
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_bytes_that_somebody_deleted_are_told(here: Here) -> None:
    """503 with a code, and an error with the same code for a handler."""
    here.links(it=Kept(body=b"x"))
    async with here.receiver() as receiver, client(receiver) as http:
        job = await here.run(receiver)
        here.kept()[0].unlink()
        answer = await http.get(f"/v1/jobs/{job.id}/files/1")
        assert (answer.status_code, answer.json()["code"]) == (503, "file_bytes_missing")
        with pytest.raises(Exception, match="is not in") as refused, job.files[0].open():
            pass
        assert getattr(refused.value, "code", None) == "file_bytes_missing"


async def test_submission_over_http_says_what_is_done_about_files(here: Here) -> None:
    """``files`` is before, beside or never; anything else is refused by name."""
    here.links(it=Kept(body=b"x"))
    async with here.receiver() as receiver, client(receiver) as http:
        order = {"provider": "made-up", "request": {"a": 1}}
        taken = await http.post("/v1/jobs", json=order | {"files": "never"})
        assert (taken.status_code, "files" in taken.json()) == (202, False)
        refused = await http.post("/v1/jobs", json=order | {"files": "later"})
        assert (refused.status_code, refused.json()["field"]) == (422, "files")


class Commands:
    """The command line, beside a receiver that serves."""

    def __init__(self, here: Here) -> None:
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RECEIVER_")},
            **here.environ,
        }

    async def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Run one: its exit code, and what it wrote."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "receiver", *arguments),
            env=self._environ,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()


@pytest.fixture
def commands(here: Here) -> Commands:
    """The command line."""
    return Commands(here)


async def saved(here: Here, receiver: Receiver) -> Job:
    """A job with files of odd names."""
    here.describe('[[files]]\npath = "links.*.url"\nname = "{.name}"\n')
    names = ["../../escape", "same.bin", "SAME.bin", ".hidden", "nul"]
    here.shelf.result = {
        "links": [
            {
                "url": here.shelf.put(
                    f"n{number}", Kept(body=b"%d" % number, headers={"content-type": "x/y"})
                ),
                "name": one,
            }
            for number, one in enumerate(names)
        ]
    }
    return await here.run(receiver)


async def test_files_are_saved_by_safe_names(here: Here, commands: Commands, tmp_path: Path) -> None:
    """No separators, no leading dots, no devices, none twice; nothing is written over without --force."""
    here.describe('[[files]]\npath = "links.*.url"\nname = "{.name}"\n')
    target = tmp_path / "saved"
    async with here.receiver() as receiver:
        job = await saved(here, receiver)
        code, out, _ = await commands("jobs", "files", job.id, "--json")
        assert code == 0
        assert [one["state"] for one in json.loads(out)["files"]] == ["stored"] * 5
        code, _, err = await commands("jobs", "files", job.id, "--save", str(target))
        assert code == 0, err
        assert {one.name: one.read_text() for one in target.iterdir()} == {
            "_.._escape": "0",
            "same.bin": "1",
            "3-SAME.bin": "2",
            "hidden": "3",
            "_nul": "4",
        }
        victim = tmp_path / "victim"
        victim.write_text("precious")
        (target / "same.bin").unlink()
        (target / "same.bin").symlink_to(victim)
        code, _, err = await commands("jobs", "files", job.id, "--save", str(target))
        assert code == 1
        assert "--force" in err
        code, out, _ = await commands("jobs", "files", job.id, "--save", str(target), "--force")
        assert code == 0
        assert victim.read_text() == "precious"
        assert (target / "same.bin").read_text() == "1"


async def test_a_command_says_when_files_are_fetched(here: Here, commands: Commands, tmp_path: Path) -> None:
    """Before handlers are called where it says nothing, beside that, or never; no other word is taken."""
    asked = tmp_path / "request.json"
    asked.write_text("{}", encoding="utf-8")
    async with here.receiver() as receiver:
        for words, when in [
            ((), "before"),
            (("--files", "beside"), "beside"),
            (("--files", "never"), "never"),
        ]:
            code, out, err = await commands("submit", "made-up", str(asked), "--json", *words)
            assert code == 0, err
            assert (await receiver.job(json.loads(out)["id"])).files_when == when
    code, _, err = await commands("submit", "made-up", str(asked), "--files", "later")
    assert (code, "'later' is not one of 'before', 'beside', 'never'" in err) == (2, True)


async def test_a_lost_file_makes_saving_fail(here: Here, commands: Commands, tmp_path: Path) -> None:
    """What is there is saved, and the command says that not all is; the list says why."""
    here.links(good=Kept(body=b"x"), bad=Kept(body=b"y", status=404))
    async with here.receiver() as receiver:
        job = await here.run(receiver)
        code, _, err = await commands("jobs", "files", job.id, "--save", str(tmp_path / "saved"))
        assert (code, "1 of 2 files are not stored" in err) == (1, True)
        assert [one.name for one in (tmp_path / "saved").iterdir()] == ["good.png"]
        code, out, _ = await commands("jobs", "files", job.id)
        assert (code, "file_gone" in out) == (0, True)
        code, out, _ = await commands("jobs", "show", job.id)
        assert "1 lost, 1 stored" in out


async def test_the_client_lists_and_saves(here: Here, tmp_path: Path) -> None:
    """Both clients save a file whole at its place; one that is lost is told by its code, and leaves nothing."""
    kept = Kept(size=3_000_000)
    here.links(a=kept, b=Kept(body=b"x", status=410))
    async with here.receiver() as receiver, served(receiver) as url:
        job = await here.run(receiver)
        async with AsyncClient(url, token="the API token of the tests") as client:
            first, second = await client.files(job.id)
            assert (first.number, first.state, second.code) == (1, "stored", "file_gone")
            saved = await client.save(job.id, 1, tmp_path / "one")
            assert saved.read_bytes() == kept.part(0, 3_000_000)
            with pytest.raises(ApiError) as refused:
                await client.save(job.id, 2, tmp_path / "two")
            assert refused.value.code == "file_not_stored"

        def use() -> bytes:
            with Client(url, token="the API token of the tests") as plain:
                assert [one.state for one in plain.files(job.id)] == ["stored", "lost"]
                return plain.save(job.id, 1, str(tmp_path / "three")).read_bytes()

        assert await asyncio.to_thread(use) == kept.part(0, 3_000_000)
        assert not (tmp_path / "two").exists()
        assert await asyncio.to_thread(lambda: list(tmp_path.glob("*.part"))) == []


async def test_a_download_goes_on_after_a_break(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that cuts the connection twice costs no byte twice, and the whole is compared with its digest."""
    monkeypatch.setattr("receiver.client.files.WAITS", (0.01, 0.01, 0.01))
    kept = Kept(size=2_000_000)
    here.links(a=kept)
    async with (
        here.receiver() as receiver,
        served(receiver) as url,
        cutting(url, [700_000, 700_000]) as proxy,
    ):
        job = await here.run(receiver)
        async with AsyncClient(proxy.url, token="the API token of the tests") as client:
            saved = await client.save(job.id, 1, tmp_path / "one")
        assert saved.read_bytes() == kept.part(0, 2_000_000)
        assert [one is None for one in proxy.ranges] == [True, False, False]
