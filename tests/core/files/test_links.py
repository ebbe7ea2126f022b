"""Links: which files a result links to, what they are called, and until when they are there; pure."""

import base64
import gzip
import json
import time
from typing import Any

import pytest

from receiver.core.description.keeping import UNKNOWN_RETENTION
from receiver.core.description.provider import Provider, describe
from receiver.core.errors import UnreadableError
from receiver.core.files.entity import entity
from receiver.core.files.expiry import expiry
from receiver.core.files.links import legible, links, written_out
from receiver.core.files.naming import safe_name
from receiver.core.model import DAY, HOUR, Job

NOW = 1_800_000_000_000


def provider(*files: dict[str, Any], **more: Any) -> Provider:  # noqa: ANN401
    """A provider with these ``[[files]]``."""
    return describe(
        {
            "name": "x",
            "title": "X",
            "sources": [{"url": "https://x.example/docs", "read": "2026-11-20"}],
            "origins": ["https://x.example"],
            "files": list(files),
        }
        | more
    )


def job(**more: Any) -> Job:  # noqa: ANN401
    """A job that succeeded just now."""
    return Job(id="job_1", provider="x", created_at=NOW - HOUR, deadline_at=NOW, succeeded_at=NOW, **more)


def found(document: object, *files: dict[str, Any]) -> list[tuple[str, str]]:
    """Place and address of each file."""
    content = json.dumps(document).encode()
    return [(one.place, one.url) for one in links(content, provider(*files), job(), most=100, now=NOW)[0]]


A, B, C = (f"https://cdn.example/{name}" for name in "abc")


@pytest.mark.parametrize(
    ("path", "document", "expected"),
    [
        ("output", {"output": A}, [("output", A)]),
        ("output.*", {"output": [A, B]}, [("output.0", A), ("output.1", B)]),
        ("images.*.url", {"images": [{"url": A}, {"url": 1}, {"uri": B}]}, [("images.0.url", A)]),
        ("**.url", {"url": A, "x": {"y": [{"url": B}]}, "z": "url"}, [("url", A), ("x.y.0.url", B)]),
        ("data.**", {"data": {"a": A, "b": ["text", [B]]}}, [("data.a", A), ("data.b.1.0", B)]),
        (".", A, [("", A)]),
        ("*", [A, A, B], [("0", A), ("2", B)]),
        ("output", {"output": "hello: Alice"}, []),
        ("output", {"output": "javascript:alert(1)"}, []),
        ("output", {"output": f"{A}#t=3"}, [("output", A)]),
    ],
)
def test_links_are_found_where_the_description_says(
    path: str, document: object, expected: list[tuple[str, str]]
) -> None:
    """``*`` is one level, ``**`` any; text that is no link, and what is no text, is passed by; nothing comes twice."""
    assert found(document, {"path": path}) == expected


def test_a_result_that_strict_parsers_refuse_is_read_all_the_same() -> None:
    """A NaN somewhere is no reason to lose what was paid for."""
    content = b'{"score": NaN, "output": "https://cdn.example/a"}'
    assert [one.url for one in links(content, provider({"path": "output"}), job(), most=9, now=NOW)[0]] == [A]


def test_what_is_no_json_links_to_nothing() -> None:
    """A result of bytes is told from one without links."""
    with pytest.raises(UnreadableError):
        links(b"\x89PNG", provider({"path": "output"}), job(), most=9, now=NOW)


def test_more_links_than_are_listed_are_counted() -> None:
    """Ten thousand links: the first are listed, and how many there are is known."""
    content = json.dumps([f"https://cdn.example/{number}" for number in range(10_000)]).encode()
    listed, total = links(content, provider({"path": "*"}), job(), most=20, now=NOW)
    assert ([one.number for one in listed], total) == (list(range(1, 21)), 10_000)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, "a b.png"),
        ("{id}-{number}.png", "r7-1.png"),
        ("{.file_name}", "cat.png"),
        ("{.missing}", "file-1"),
    ],
)
def test_names_come_from_the_description_or_the_link(name: str | None, expected: str) -> None:
    """A template from the document and a number; without one the end of the link."""
    document = {
        "id": "r7",
        "images": [{"url": "https://cdn.example/x/a%20b.png?sig=1", "file_name": "cat.png"}],
    }
    described = {"path": "images.*.url"} | ({} if name is None else {"name": name})
    (link,), _ = links(json.dumps(document).encode(), provider(described), job(), most=9, now=NOW)
    assert link.name == expected
    assert link.source == "https://cdn.example/x/a%20b.png"


def test_what_no_database_takes_stays_out_of_names_and_places() -> None:
    """NUL, half an emoji and marks that turn text around: replaced; the rest of the name is kept as data."""
    document = {"\0k": {"url": "https://cdn.example/x", "n": "../\u202egpj.exe\ud83d\0"}}
    content = json.dumps(document).encode()
    (link,), _ = links(content, provider({"path": "*.url", "name": "{.n}"}), job(), most=9, now=NOW)
    assert link.place == "\N{REPLACEMENT CHARACTER}k.url"
    assert not set(link.name) & set("\0\u202e\ud83d")
    assert link.name.startswith("../")


def test_data_links_are_files_too() -> None:
    """They are decoded as RFC 2397 says; of the link only its head is kept beside the result."""
    png = b"\x89PNG..."
    document = {
        "output": [f"data:image/png;base64,{base64.b64encode(png).decode()}", "data:,a%20b", "data:x"]
    }
    content = json.dumps(document).encode()
    described = provider({"path": "output.*"})
    listed, _ = links(content, described, job(), most=9, now=NOW)
    assert [(one.url, one.name) for one in listed][:2] == [
        ("data:image/png;base64,", "file-1"),
        ("data:,", "file-2"),
    ]
    assert written_out(content, described, 1) == (png, "image/png")
    assert written_out(content, described, 2) == (b"a b", "text/plain")
    with pytest.raises(UnreadableError) as refused:
        written_out(content, described, 3)
    assert refused.value.code == "file_refused"


@pytest.mark.parametrize(
    ("described", "url", "expected"),
    [
        ({"path": "."}, A, NOW + UNKNOWN_RETENTION),
        ({"path": ".", "keeps": "1h"}, A, NOW + HOUR),
        ({"path": ".", "keeps": "2h", "counted_from": "submission"}, A, NOW + HOUR),
        ({"path": ".", "keeps": "1d"}, f"{A}?Expires={NOW // 1000 + 60}", NOW + 60_000),
        ({"path": ".", "keeps": "1h"}, f"{A}?Expires={NOW // 1000 + 86_400}", NOW + HOUR),
    ],
)
def test_what_is_sooner_counts(described: dict[str, Any], url: str, expected: int) -> None:
    """The description's ``keeps`` or the signed link's own parameters; else our guess."""
    (link,), _ = links(json.dumps(url).encode(), provider(described), job(), most=1, now=NOW)
    assert link.expires_at == expected


def test_retention_counts_where_files_say_nothing_of_their_own() -> None:
    """``[retention]`` is about the whole result."""
    described = provider({"path": "."}, retention={"keeps": "1d"})
    (link,), _ = links(json.dumps(A).encode(), described, job(keep_ms=DAY), most=1, now=NOW)
    assert link.expires_at == NOW + DAY


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("X-Amz-Date=20270115T080000Z&X-Amz-Expires=3600", 1_800_003_600_000),
        ("X-Goog-Date=20270115T080000Z&X-Goog-Expires=60", 1_800_000_060_000),
        ("Expires=1800000001", 1_800_000_001_000),
        ("se=2027-01-15T08%3A00%3A00Z&sp=r", 1_800_000_000_000),
        ("exp=1800000002", 1_800_000_002_000),
        ("X-Amz-Expires=3600", None),
        ("Expires=soon", None),
        ("Expires=99999999999999999999", None),
        ("X-Amz-Date=20271315T080000Z&X-Amz-Expires=3600", None),
        ("", None),
    ],
)
def test_signed_links_tell_when_they_run_out(query: str, expected: int | None) -> None:
    """Amazon's, Google's, CloudFront's and Azure's parameters; what is no time is none."""
    assert expiry(f"https://cdn.example/a?{query}") == expected


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"path": "a..b"}, "nothing between two dots"),
        ({"path": "a*"}, "whole member"),
        ({"path": "a", "largest": "big"}, "not a size"),
        ({"path": "a", "keeps": "soon"}, "not a duration"),
        ({"path": "a", "name": "{}"}, "names nothing"),
        ({"path": "a", "folder": "x"}, "folder"),
    ],
)
def test_a_description_that_is_wrong_is_refused(given: dict[str, Any], reason: str) -> None:
    """Each key, with its reason."""
    with pytest.raises(Exception, match=reason):
        provider(given)


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("cat.png", None, "cat.png"),
        ("../../etc/passwd", None, "_.._etc_passwd"),
        ("..", None, "file-3"),
        (".bashrc", None, "bashrc"),
        ("CON", "image/png", "_CON.png"),
        ("aux.txt", None, "_aux.txt"),
        ("a\0b\u202egpj.exe", None, "a_b_gpj.exe"),
        ("C:\\x|y?.png", None, "C__x_y_.png"),
        ("", "video/mp4; codecs=x", "file-3.mp4"),
        ("x" * 4096 + ".png", None, "x" * 176 + ".png"),
        ("é" * 200, None, "é" * 90),
        ("trailing. ", None, "trailing"),
    ],
)
def test_names_are_made_safe(name: str, kind: str | None, expected: str) -> None:
    """No separator, no leading dot, no device, nothing that cannot be seen, never too long, never empty."""
    assert safe_name(name, number=3, content_type=kind) == expected


def test_an_answer_tells_of_its_entity() -> None:
    """Size, part, validator and every digest that can be checked; of a part only what is about the whole."""
    whole = {
        "content-length": "5",
        "etag": '"x"',
        "content-type": "image/png",
        "content-md5": base64.b64encode(b"m" * 16).decode(),
        "digest": "sha-256=" + base64.b64encode(b"d" * 32).decode() + ", unixsum=30637",
        "repr-digest": "sha-512=:" + base64.b64encode(b"r" * 64).decode() + ":",
        "x-amz-checksum-crc32": base64.b64encode(b"c" * 4).decode(),
        "x-amz-checksum-sha1": "composite-3",
    }
    told = entity(200, whole.get)
    assert told is not None
    assert (told.start, told.total, told.validator, told.content_type) == (0, 5, '"x"', "image/png")
    assert told.digests == {"md5": b"m" * 16, "sha256": b"d" * 32, "sha512": b"r" * 64, "crc32": b"c" * 4}
    part = entity(206, ({"content-range": "bytes 3-4/5"} | whole).get)
    assert part is not None
    assert (part.start, part.total, sorted(part.digests)) == (3, 5, ["crc32", "sha512"])
    weak = entity(200, {"etag": 'W/"x"', "last-modified": "Sun, 29 Nov 2026 12:00:00 GMT"}.get)
    assert weak is not None
    assert (weak.validator, weak.total) == (None, None)
    assert entity(206, dict[str, str]().get) is None
    assert entity(500, whole.get) is None


@pytest.mark.parametrize(
    ("document", "path", "first"),
    [
        ({"id": "r", "links": [f"{A}{number}" for number in range(10_000)]}, "links.*", "r--1"),
        ({"id": "r", "links": {f"n{number}": f"{A}{number}" for number in range(10_000)}}, "links.*", "r--1"),
        (
            {"id": "r", "links": [{"is": "x", "url": f"{A}{number}"} for number in range(10_000)]},
            "**.url",
            "r-x-1",
        ),
    ],
)
def test_names_of_many_files_take_no_longer_each(document: object, path: str, first: str) -> None:
    """What a name is made of is not looked up in the whole result for every file."""
    named = provider({"path": path, "name": "{id}-{.is}-{number}"})
    content, begun = json.dumps(document).encode(), time.process_time()
    listed, total = links(content, named, job(), most=20_000, now=NOW)
    assert time.process_time() - begun < 5
    assert (total, listed[0].name, listed[-1].name) == (10_000, first, first[:-1] + "10000")


@pytest.mark.parametrize(
    ("charset", "kind"),
    [
        ("utf-8-sig", "application/json"),
        ("utf-16", "application/json"),
        ("utf-16-le", "application/json"),
        ("utf-16-le", "application/json; charset=utf-8"),
        ("utf-16-be", "application/json; charset=utf-16be"),
        ("utf-32", "text/plain"),
        ("utf-32-be", ""),
        ("latin-1", "application/json; charset=iso-8859-1"),
        ("cp1252", 'application/json; charset="windows-1252"'),
        ("utf-8", "application/json; charset=iso-8859-1"),
        ("utf-8", "application/json; charset=nonsense"),
        ("shift_jis", "application/json; charset=Shift_JIS"),
        ("gb18030", "application/json; charset=GB18030"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_a_result_in_another_charset_links_as_in_utf_8(charset: str, kind: str, *, packed: bool) -> None:
    """With a mark or a declaration, a wrong one too, and in gzip that nothing told of."""
    accent = "ア" if charset == "shift_jis" else "é"
    text = json.dumps({"links": [f"{A}/{accent}", "data:,x"], accent: accent}, ensure_ascii=False).encode(
        charset
    )
    read = legible(gzip.compress(text) if packed else text, kind)
    found, _ = links(read, provider({"path": "links.*"}), job(), most=9, now=NOW)
    assert [one.url for one in found] == [f"{A}/{accent}", "data:,"]
    assert written_out(read, provider({"path": "links.*"}), 2) == (b"x", "text/plain")
