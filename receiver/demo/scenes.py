"""What the demo plays: one job a scene, what is done to its callbacks, and how it must end."""

from typing import Any, Final

import msgspec


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """One job and its expected outcome."""

    name: str
    provider: str
    request: dict[str, Any]
    operation: str = ""
    #: What the simulator does wrong, by the names of its faults.
    faults: tuple[str, ...] = ()
    settled_by: str = "callback"
    #: Verdicts that must occur among the job's callbacks, and how often at least.
    verdicts: dict[str, int] = {}
    #: Verdicts that must not occur.
    never: tuple[str, ...] = ()
    #: How many pages the result comes in, and how many of the files that it links to must be stored.
    pages: int = 0
    files: int = 0
    #: What the reader sees, in one sentence.
    story: str


_PROMPT: Final = "What are the latest trends in the coffee industry?"
_RESEARCH: Final = {
    "model": "sonar-deep-research",
    "messages": [{"role": "user", "content": "Comprehensive 2026 state of voice AI agents."}],
}
_TRANSLATION: Final = {
    "modelUri": "gpt://demo-folder/yandexgpt",
    "completionOptions": {"stream": False, "temperature": 0.1, "maxTokens": "2000"},
    "messages": [
        {"role": "system", "text": "Translate the text"},
        {"role": "user", "text": "To be, or not to be: that is the question."},
    ],
}

SCENES: Final = (
    Scene(
        name="netnut",
        provider="netnut",
        request={"engine": "perplexity", "prompt": _PROMPT},
        verdicts={"accepted": 1},
        story="an unsigned notification wakes the fetch of response_url",
    ),
    Scene(
        name="pulse",
        provider="pulse",
        operation="extract",
        request={"file_url": "https://example.com/invoice.pdf"},
        verdicts={"accepted": 1},
        never=("rejected",),
        story="a signed account-wide webhook; the result is fetched",
    ),
    Scene(
        name="yandex",
        provider="yandex",
        request=_TRANSLATION,
        settled_by="poll",
        story="no callbacks at all: the operation is polled",
    ),
    Scene(
        name="perplexity",
        provider="perplexity",
        request=_RESEARCH,
        settled_by="poll",
        story="no callbacks at all: the request is polled",
    ),
    Scene(
        name="perplexity-webhook",
        provider="perplexity-webhook",
        request=_RESEARCH,
        verdicts={"accepted": 1},
        never=("rejected",),
        story="the full result, signed with a key of this one job",
    ),
    Scene(
        name="firecrawl",
        provider="firecrawl",
        request={"url": "https://example.com", "limit": 6},
        verdicts={"accepted": 1},
        never=("rejected",),
        pages=3,
        story="a signed notification, and a result in three pages that becomes one",
    ),
    Scene(
        name="runway",
        provider="runway",
        request={"model": "gen4_turbo", "promptImage": "https://example.com/cat.png", "ratio": "1280:720"},
        settled_by="poll",
        files=2,
        story="three links that expire: an image, a slow video of 30 MiB, and one that is deleted after two seconds",
    ),
    Scene(
        name="forged",
        provider="perplexity-webhook",
        request=_RESEARCH,
        faults=("forged",),
        settled_by="poll",
        verdicts={"rejected": 1},
        never=("accepted",),
        story="a stranger's signature: quarantined, and the poll tells the truth",
    ),
    Scene(
        name="duplicated",
        provider="perplexity-webhook",
        request=_RESEARCH,
        faults=("twice",),
        verdicts={"accepted": 1, "duplicate": 1},
        story="the same callback twice: one completion, one handler run",
    ),
    Scene(
        name="lost",
        provider="netnut",
        request={"engine": "perplexity", "prompt": _PROMPT},
        faults=("lost",),
        settled_by="poll",
        never=("accepted",),
        story="the callback never comes: polling takes over",
    ),
    Scene(
        name="early",
        provider="perplexity-webhook",
        request=_RESEARCH,
        faults=("early",),
        verdicts={"accepted": 1},
        story="the callback overtakes the answer to its own submission",
    ),
)
