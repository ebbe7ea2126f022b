"""All kinds of APIs that can be described, made up by chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
API_KEY: Final = "a-credential-that-no-log-may-show"
WEBHOOK_SECRET: Final = "a-webhook-secret-that-no-log-may-show"
#: The words of these APIs, and what they mean.
STATES: Final = {
    "queued": "submitted",
    "running": "running",
    "done": "succeeded",
    "broken": "failed",
    "stopped": "canceled",
}
#: How an API tells of an end. ``result``: signed, with the result; ``note``: signed, then it is asked; ``wake``: only
#: the token vouches; ``polled``: not at all; ``account…``: signed, one address for all jobs; ``sealed``: signed with
#: a secret of the job's own; ``posted``: signed, with the result, and there is nowhere to ask.
KINDS: Final = ("result", "note", "wake", "polled", "account", "account-result", "sealed", "posted")


@dataclass(frozen=True, kw_only=True)
class Api:
    """One API; times are milliseconds."""

    name: str
    kind: str
    #: Whether it takes a key with a submission, and knows the repetition by it.
    idempotent: bool
    cancels: bool
    #: Whether it repeats what a caller of its gave to be kept with a job.
    marks: bool
    #: Whether the result has an address of its own, and whether one GET uses it up.
    linked: bool
    single_use: bool
    #: How long results are kept, if its documentation says so, and from when on.
    keeps: int | None
    counted_from: str
    deadline: int
    expected: int
    every: int
    longest: int
    rate: float
    concurrency: int

    @property
    def calls_back(self) -> bool:
        """Whether it sends callbacks."""
        return self.kind != "polled"

    @property
    def account_wide(self) -> bool:
        """Whether they all come to one address."""
        return self.kind.startswith("account")

    @property
    def posts_results(self) -> bool:
        """Whether a callback carries the result."""
        return self.kind in {"result", "account-result", "sealed", "posted"}

    @property
    def has_status(self) -> bool:
        """Whether there is an address to ask."""
        return self.kind != "posted"

    @property
    def signs(self) -> bool:
        """Whether its callbacks prove by themselves that they are genuine."""
        return self.calls_back and self.kind != "wake"


def invent(name: str, kind: str, random: Random) -> Api:
    """An API of that kind."""
    linked = kind != "posted" and random.random() < 0.35
    keeps = random.choice([None, None, 20 * MINUTE, 2 * HOUR, 12 * HOUR, 7 * DAY])
    return Api(
        name=name,
        kind=kind,
        idempotent=random.random() < 0.4,
        cancels=random.random() < 0.6,
        marks=random.random() < 0.4,
        linked=linked,
        single_use=linked and random.random() < 0.4,
        keeps=keeps,
        counted_from=random.choice(["completion", "completion", "submission"]),
        deadline=random.choice([5, 15, 30, 60]) * MINUTE,
        expected=random.choice([20, 60, 600]) * SECOND,
        every=random.choice([5, 20, 60]) * SECOND,
        longest=random.choice([1, 2, 5]) * MINUTE,
        rate=random.choice([5, 20, 50]),
        concurrency=random.choice([3, 8, 16]),
    )


def describe(api: Api, folder: Path) -> None:
    """Write its description."""
    site = f"https://{api.name}.example"
    words = ", ".join(f"{word} = {state!r}" for word, state in STATES.items()).replace("'", '"')
    result = 'result_url = "link"' if api.linked else 'result = "result"'
    parts = [
        f'name = "{api.name}"\ntitle = "An API of the model"\norigins = ["{site}"]',
        f'deadline = "{api.deadline // SECOND}s"',
        'sources = [{ url = "https://model.example/docs", read = "2026-11-29" }]',
        '[[credentials]]\nprefix = "Bearer "\nsecret = "env:MODEL_API_KEY"',
        f'[submit]\nurl = "{site}/jobs"\nanswer = "job"',
    ]
    if api.idempotent:
        parts.append('idempotency = { where = "header", name = "Idempotency-Key" }')
    if api.marks:
        parts.append('mark = "meta.job"')
    if api.has_status:
        parts.append(
            f'[poll]\nurl = ["{site}/jobs/{{id}}"]\nanswer = "job"\n'
            f'every = "{api.every // SECOND}s"\nlongest = "{api.longest // SECOND}s"'
        )
    if api.calls_back:
        parts += _callback(api)
    if api.single_use:
        parts.append("[fetch]\nsingle_use = true")
    if api.cancels:
        parts.append(f'[cancel]\nurl = "{site}/jobs/{{id}}/cancel"')
    if api.keeps is not None:
        parts.append(f'[retention]\nkeeps = "{api.keeps // SECOND}s"\ncounted_from = "{api.counted_from}"')
    parts += [
        f"[limits]\nrate = {api.rate}\nconcurrency = {api.concurrency}",
        f'[shapes.job]\nid = ["id"]\nstatus = "state"\nstates = {{ {words} }}\n{result}\nerror = ["reason"]',
    ]
    mark = '\nmark = ["meta.job"]' if api.marks else ""
    parts[-1] += mark
    if api.kind == "wake":
        parts.append('[shapes.event]\nid = ["id"]')
    elif api.calls_back:
        carried = '\nresult = "result"' if api.posts_results else ""
        parts.append(
            f'[shapes.event]\nid = ["id"]\nstatus = "state"\nstates = {{ {words} }}{carried}\nerror = ["reason"]{mark}'
        )
    folder.mkdir(exist_ok=True)
    (folder / f"{api.name}.toml").write_text("\n".join(parts) + "\n", encoding="utf-8")


def _callback(api: Api) -> list[str]:
    where = 'where = "registered"' if api.account_wide else 'where = "body"\npath = "hook"'
    if api.kind == "sealed":
        where += '\nsecret_path = "hook_secret"'
    delivers = "result" if api.posts_results else "notification"
    terms = f'[callback]\n{where}\ndelivers = "{delivers}"\n{delivers} = "event"\n'
    terms += f'expected = "{api.expected // SECOND}s"'
    if api.kind == "wake":
        return [terms, '[verify]\nscheme = "url_token"']
    key = 'source = "per-job"' if api.kind == "sealed" else 'secret = "env:MODEL_WEBHOOK_SECRET"'
    return [terms, '[verify]\nscheme = "hmac"\nheader = "X-Sig"\nsigned = "{body}"', f"[key]\n{key}"]
