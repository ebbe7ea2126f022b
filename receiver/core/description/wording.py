"""What is wrong with a description, in the words of TOML: whoever writes one need know neither Python nor JSON.

Where a word is none of those that may stand there, or a key is none, the sentence says which there are.
"""

import difflib
import re
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

#: What TOML calls what msgspec calls as Python or JSON does.
_IN_TOML: Final = {"str": "string", "int": "integer", "bool": "boolean", "object": "table"}
_TYPES: Final = re.compile(r"`[^`]*`")
_LACKING: Final = re.compile(r"\AObject missing required field (`[^`]*`)")
_UNKNOWN: Final = re.compile(r"\AObject contains unknown field `([^`]*)`")
_WORD: Final = re.compile(r"\AInvalid enum value '?([^']*)'?")
_TYPE: Final = re.compile(r"\b(?:{})\b".format("|".join(_IN_TOML)))
_STEP: Final = re.compile(r"([^.\[\]]+)|\[[^\]]*\]")


def in_toml(reason: str, place: str, kind: type) -> str:
    """What msgspec says is wrong at *place* of what it reads as *kind*; a sentence of ours stays as it is."""
    if (unknown := _UNKNOWN.match(reason)) is not None:
        known = [name for one in _at(place, kind) for name in _keys(one)]
        return f"there is no key `{unknown[1]}`{_choice(unknown[1], known)}"
    if (word := _WORD.match(reason)) is not None:
        return f"it cannot be '{word[1]}'{_choice(word[1], [name for one in _at(place, kind) for name in _words(one)])}"
    if not reason.startswith("Expected `"):
        return _LACKING.sub(r"the key \1 is missing", reason)

    def named(types: re.Match[str]) -> str:
        return _TYPE.sub(lambda one: _IN_TOML[one[0]], types[0].replace(" | null", ""))

    return _TYPES.sub(named, reason)


def _choice(word: str, known: list[str]) -> str:
    """What may stand there instead, the most similar first."""
    known = sorted(dict.fromkeys(known))
    near = difflib.get_close_matches(word, known, n=1)
    meant = f"; did you mean {near[0]}?" if near else ";"
    return f"{meant} There are {', '.join(known)}".replace("; There", "; there") if known else ""


def _at(place: str, kind: Any) -> list[Any]:  # noqa: ANN401  (a type)
    """The types that may stand at a place such as ``$.credentials[0].mint``."""
    found = [kind]
    for step in _STEP.finditer(place.strip("`").removeprefix("$")):
        found = [inner for one in found for inner in _within(one, step[1])]
    return [one for each in found for one in _alternatives(each)]


def _within(kind: Any, key: str | None) -> list[Any]:  # noqa: ANN401
    """The types of what is at *key* of *kind*, or of its items."""
    found = []
    for one in _alternatives(kind):
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            hints = get_type_hints(one)
            names = dict(zip(one.__struct_encode_fields__, one.__struct_fields__, strict=True))
            found += [hints[names[key]]] if key in names else []
        elif get_origin(one) is dict:
            found.append(get_args(one)[1])
        elif key is None:
            found += [inner for inner in get_args(one) if inner is not Ellipsis]
    return found


def _alternatives(kind: Any) -> list[Any]:  # noqa: ANN401
    union = get_origin(kind) is Union or type(kind).__name__ == "UnionType"
    return [inner for one in get_args(kind) for inner in _alternatives(one)] if union else [kind]


def _keys(kind: Any) -> list[str]:  # noqa: ANN401
    return (
        [*kind.__struct_encode_fields__]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        else []
    )


def _words(kind: Any) -> list[str]:  # noqa: ANN401
    if get_origin(kind) is Literal:
        return [str(one) for one in get_args(kind)]
    members = getattr(kind, "__members__", {})
    return [str(one.value) for one in members.values()]
