"""Several keys in one setting, whatever commas and line breaks are in it: which texts are keys.

Vendors show secrets as ``v1,whsec_…``, and whoever chooses one may choose a comma. So a comma separates keys where what
is between commas are keys; a line break always does, so that ``NAME_FILE`` with one key a line is never in doubt.
"""

import re
from typing import Final

import msgspec

from receiver.core.description.scheme import Scheme
from receiver.core.errors import ConfigurationError
from receiver.core.signature.keyform import Key, bare, load_key

#: What a vendor writes in front of a secret to say what it signs.
_VERSION: Final = re.compile(r"(?<![^,\s])v1a?,\s*(?=wh(?:sec|pk|sk)_)")


class KeyList(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of one setting, newest first."""

    keys: tuple[Key, ...]
    #: Why some of what stands there are no keys, a sentence each.
    unusable: tuple[str, ...] = ()
    #: How the setting was taken apart, if that is not plain.
    remark: str | None = None

    def __repr__(self) -> str:
        return f"KeyList({len(self.keys)} keys)"


def load_keys(name: str, text: str, *, scheme: Scheme) -> KeyList:
    """Take the keys in *text*, the value of the setting *name*.

    One that cannot be used takes none of the others away.

    Raises:
        ConfigurationError: none can be used; the sentence says why, and names the comma if there is one.
    """
    if scheme.key_encoding in {"pem", "jwk"}:
        # Keys of these forms have line breaks and commas of their own.
        return KeyList(keys=(load_key(f"{name}#1", text, scheme=scheme),))
    if scheme.key_encoding == "whsec":
        text = _VERSION.sub("", text)
    lines = [bare(line) for line in text.splitlines() if bare(line)]
    keys: list[Key] = []
    errors: list[ConfigurationError] = []
    remark: str | None = None
    for line in lines:
        place = len(keys) + len(errors) + 1
        pieces = [bare(piece) for piece in line.split(",") if bare(piece)] or [line]
        found = [_load(f"{name}#{place + number}", piece, scheme) for number, piece in enumerate(pieces)]
        if "," in line:
            whole = _load(f"{name}#{place}-{place + len(pieces) - 1}", line, scheme)
            if isinstance(whole, Key):
                # A secret that may be any text, with a comma in it, or several: all that can be keys are tried.
                found, remark = _in_doubt(name, whole, found, alone=len(lines) > 1)
        keys += [one for one in found if isinstance(one, Key)]
        errors += [one for one in found if isinstance(one, ConfigurationError)]
    if not keys:
        raise _refusal(name, errors)
    return KeyList(keys=tuple(keys), unusable=tuple(map(str, errors)), remark=remark)


_Loaded = Key | ConfigurationError


def _load(key_id: str, text: str, scheme: Scheme) -> _Loaded:
    try:
        return load_key(key_id, text, scheme=scheme)
    except ConfigurationError as error:
        return error


def _in_doubt(
    name: str, whole: Key, pieces: list[_Loaded], *, alone: bool
) -> tuple[list[_Loaded], str | None]:
    if alone:
        return [whole], None
    usable: list[_Loaded] = [one for one in pieces if isinstance(one, Key)]
    if len(usable) == len(pieces):
        remark = f"{name} is read as {len(usable)} keys, which commas separate, and as one with commas in it"
        return [*usable, whole], remark
    return [
        whole,
        *usable,
    ], f"{name} is read as one key with a comma in it, because not all of its pieces can be keys"


def _refusal(name: str, errors: list[ConfigurationError]) -> ConfigurationError:
    if not errors:
        return ConfigurationError(f"The key {name!r} is empty.", code="key_empty")
    if len(errors) == 1:
        return errors[0]
    return ConfigurationError(
        f"{name} has commas in it, which separate keys, and none of the {len(errors)} can be used. {errors[0]} If a "
        "comma belongs to the secret, see whether all of it was copied.",
        code=errors[0].code,
    )
