"""Settings from files, as the programs of several systems write them."""

import codecs
from pathlib import Path

import pytest

from receiver.core.errors import ConfigurationError
from receiver.settings import Settings, read_secret


@pytest.mark.parametrize(
    "content",
    [
        b"s\xc3\xa9cret\n",
        b"s\xc3\xa9cret\r\n",
        codecs.BOM_UTF8 + b"s\xc3\xa9cret",
        codecs.BOM_UTF16_LE + "sécret\r\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "sécret".encode("utf-16-be"),
    ],
)
def test_a_secret_in_a_file_is_its_text(content: bytes, tmp_path: Path) -> None:
    """PowerShell writes UTF-16, Notepad a byte order mark, editors a line break: none of them is part of a secret."""
    (tmp_path / "key").write_bytes(content)
    assert read_secret({"KEY_FILE": str(tmp_path / "key")}, "KEY") == "sécret"


@pytest.mark.parametrize("text", ["key", "key\n", "key\r\n", " key\t"])
def test_what_stands_around_a_secret_is_no_part_of_it(text: str) -> None:
    """A line break that was piped along is the same in a variable as in a file; nothing but that is nothing."""
    settings = Settings.load({"RECEIVER_API_TOKEN": text, "ACME_KEY": text, "EMPTY": text.replace("key", "")})
    assert (settings.api_token, settings.resolve("env:ACME_KEY")) == ("key", "key")
    assert settings.resolve("env:EMPTY") is None


def test_a_file_that_is_no_text_is_refused_without_its_bytes(tmp_path: Path) -> None:
    """The sentence names the setting."""
    (tmp_path / "key").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(ConfigurationError, match="KEY_FILE") as refused:
        read_secret({"KEY_FILE": str(tmp_path / "key")}, "KEY")
    assert refused.value.code == "secret_unreadable"


def test_a_relative_path_stays_where_the_process_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler may go to another folder: what is read again then is where it was at the start."""
    away = tmp_path / "away"
    away.mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key").write_text("old", encoding="utf-8")
    settings = Settings.load({"ACME_SECRET_FILE": "key", "RECEIVER_ACME_EGRESS_PROXY_FILE": "key"})
    monkeypatch.chdir(away)
    (away / "key").write_text("somebody else's", encoding="utf-8")
    for text in ("old", "new"):
        (tmp_path / "key").write_text(text, encoding="utf-8")
        assert [settings.resolve(one) for one in ("env:ACME_SECRET", "file:key")] == [text, text]
        assert settings.egress_proxy_of("acme")[1] == text
