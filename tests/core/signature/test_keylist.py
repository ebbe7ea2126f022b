"""Several keys in one setting: commas, line breaks, and what vendors write before a secret."""

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.core.description.scheme import Scheme
from receiver.core.errors import ConfigurationError
from receiver.core.signature.keyform import bare
from receiver.core.signature.keylist import load_keys

TEXT = Scheme(kind="hmac", header="X")
WHSEC = Scheme(kind="hmac", header="X", key_encoding="whsec")
BASIC = Scheme(kind="basic")


def whsec(number: int) -> str:
    """A secret as Standard Webhooks shows it."""
    return "whsec_" + base64.b64encode(bytes([number]) * 24).decode()


def secrets(text: str, scheme: Scheme) -> list[bytes]:
    """The secrets that are in force."""
    return [key.secret for key in load_keys("NAME", text, scheme=scheme).keys]


@given(
    numbers=st.lists(st.integers(0, 255), min_size=1, max_size=4, unique=True),
    version=st.sampled_from(["", "v1,", "v1, "]),
    joint=st.sampled_from([",", ", ", "\n", "\r\n", ",\n", "\n\n"]),
    end=st.sampled_from(["", "\n", ",", " "]),
)
def test_every_secret_is_a_key_however_they_are_written(
    numbers: list[int], version: str, joint: str, end: str
) -> None:
    """With and without the version that a console shows, by commas or by lines."""
    text = joint.join(version + whsec(number) for number in numbers) + end
    found = load_keys("NAME", text, scheme=WHSEC)
    assert [key.secret for key in found.keys] == [bytes([number]) * 24 for number in numbers]
    assert [key.id for key in found.keys] == [f"NAME#{place}" for place in range(1, len(numbers) + 1)]
    assert (found.unusable, found.remark) == ((), None)


BAD = ["tiny", "whsec_not base64!", "v1", "whsec_AAAA", "é"]


@given(
    pieces=st.lists(st.integers(0, 255) | st.sampled_from(BAD), min_size=2, max_size=5),
    joint=st.sampled_from([",", "\n"]),
)
def test_a_key_that_cannot_be_used_takes_none_of_the_others_away(pieces: list[int | str], joint: str) -> None:
    """Those that can be used are in force, and the sentences name the others by their place and never show them."""
    text = joint.join(whsec(one) if isinstance(one, int) else one for one in pieces)
    good = [bytes([one]) * 24 for one in pieces if isinstance(one, int)]
    if not good:
        with pytest.raises(ConfigurationError) as refused:
            load_keys("NAME", text, scheme=WHSEC)
        assert refused.value.code in {"key_malformed", "key_too_short"}
        return
    found = load_keys("NAME", text, scheme=WHSEC)
    assert [key.secret for key in found.keys] == good
    for sentence in found.unusable:
        assert "NAME#" in sentence
        assert not any(bad in sentence for bad in BAD if bad != "v1")


CHOSEN = st.text(
    st.characters(codec="utf-8", exclude_characters="\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\0"),
    min_size=16,
    max_size=50,
).filter(lambda text: text == bare(text) and len(text.encode()) >= 16)


@given(secret=CHOSEN)
def test_any_chosen_secret_is_in_force(secret: str) -> None:
    """Also one with commas in it, whatever stands between them."""
    assert secret.encode() in secrets(secret, TEXT)


@given(one=CHOSEN, other=CHOSEN)
def test_of_several_lines_each_is_one_key(one: str, other: str) -> None:
    """So a file is never in doubt: a comma in a line is part of its key."""
    assert secrets(f"{one}\n{other}\n", TEXT) == [one.encode(), other.encode()]


def test_what_is_in_doubt_is_said() -> None:
    """Commas between what can be keys separate them, and the whole is tried too; otherwise it is one key."""
    long, longer = "a secret of sixteen", "another secret of more"
    several = load_keys("NAME", f"{long},{longer}", scheme=TEXT)
    assert [key.secret for key in several.keys] == [
        long.encode(),
        longer.encode(),
        f"{long},{longer}".encode(),
    ]
    assert [key.id for key in several.keys] == ["NAME#1", "NAME#2", "NAME#1-2"]
    assert several.remark is not None
    assert "2 keys" in several.remark
    one = load_keys("NAME", f"{long},short", scheme=TEXT)
    assert [key.secret for key in one.keys] == [f"{long},short".encode(), long.encode()]
    assert one.remark is not None
    assert "comma" in one.remark
    assert secrets("user:a password, with a comma", BASIC) == [b"user:a password, with a comma"]


def test_a_refusal_names_the_comma() -> None:
    """Of several pieces none can be used: it is said that commas separate, and what is wrong with the first."""
    with pytest.raises(ConfigurationError, match="comma") as refused:
        load_keys("NAME", "short,shorter", scheme=TEXT)
    assert refused.value.code == "key_too_short"
    for text in ("", " \n ", ","):
        with pytest.raises(ConfigurationError) as refused:
            load_keys("NAME", text, scheme=TEXT)
        assert refused.value.code in {"key_empty", "key_too_short"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_is_that_of_the_setting(order: tuple[int, ...]) -> None:
    """Newest first: with the first of them is signed."""
    assert secrets(",".join(whsec(one) for one in order), WHSEC) == [bytes([one]) * 24 for one in order]
