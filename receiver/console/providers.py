"""Providers: what each description says in words, the addresses to paste, the keys in force, and a try of both ways."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.responses import Response

from receiver.console import words
from receiver.console.ask import Ask, Route
from receiver.console.page import Page
from receiver.console.shown import span
from receiver.core.description.provider import Provider
from receiver.core.errors import ConflictError, NotFoundError, ProviderError, ReceiverError
from receiver.core.model import Delivery, Value
from receiver.core.signature.verify import Key, sign
from receiver.keys import Lacks
from receiver.settings import is_loopback
from receiver.steps.order import Order
from receiver.storage import arrived, glance
from receiver.storage.arrived import Sought

#: So many of the newest callbacks tell which keys are in use.
_LOOKED_AT: Final = 500
_PATIENCE: Final = 10
#: This body names no job, so nothing comes of it but the proof that it was signed with our key.
_TEST: Final = b'{"test":"from the console of receiver"}'
#: What the simulator can be asked for, by provider.
_SIMULATED: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "netnut": ("", {"engine": "perplexity", "prompt": "What are the latest trends in the coffee industry?"}),
    "pulse": ("extract", {"file_url": "https://example.com/invoice.pdf"}),
    "yandex": (
        "",
        {"modelUri": "gpt://demo-folder/yandexgpt", "messages": [{"role": "user", "text": "Hello"}]},
    ),
    "perplexity": ("", {"model": "sonar-deep-research", "messages": [{"role": "user", "content": "Hello"}]}),
    "perplexity-webhook": (
        "",
        {"model": "sonar-deep-research", "messages": [{"role": "user", "content": "Hello"}]},
    ),
}
_SCHEMES: Final = {
    "hmac": "proved by an HMAC over the message",
    "hash": "proved by a hash over message and secret",
    "ed25519": "proved by an Ed25519 signature",
    "ecdsa": "proved by an ECDSA signature",
    "rsa": "proved by an RSA signature",
    "jwt": "proved by a signed token (JWT)",
    "header_token": "proved by a secret in a header",
    "basic": "proved by user name and password",
    "url_token": "vouched for by the token in its address only",
    "none": "vouched for by the token in its address only",
}


class KeyUse(Value, frozen=True, kw_only=True):
    """A key in force, and when it last proved a callback, among the newest."""

    id: str
    last: int | None
    #: Whether a newer key has taken over, so that this one can go.
    can_go: bool


class ProvidersPage(Page):
    """The providers."""

    @property
    def routes(self) -> list[Route]:
        """What can be asked for."""
        return [
            Route("GET", "/providers", self.everyone),
            Route("GET", "/providers/{name}", self.show),
            Route("POST", "/providers/{name}/test", self.test, acts=True),
            Route("POST", "/providers/{name}/simulate", self.simulate, acts=True),
        ]

    async def everyone(self, ask: Ask) -> Response:
        """List them: those in use, those that are set up, the others."""
        standings = {one.provider: one for one in await self._store.read(glance.standings)}
        rows = [
            (one, standings.get(one.name), self._parts.keys.lacks(one))
            for one in self._parts.catalog.values()
        ]
        rows.sort(key=lambda row: (row[1] is None, row[2] != Lacks(), row[0].name))
        return await ask.page("providers.html", rows=rows, ways=_SCHEMES)

    async def show(self, ask: Ask) -> Response:
        """Show one."""
        provider = self._named(ask)
        standing = await self._store.read(glance.standing, provider.name)
        keys, missing = self._keys(provider)
        return await ask.page(
            "provider.html",
            provider=provider,
            standing=standing if standing.last_job is not None else None,
            lacks=self._lacks(provider),
            addresses=self._addresses(provider),
            sentences=_sentences(provider),
            keys=await self._uses(provider, keys),
            key_missing=missing,
            reference="" if provider.key is None else (provider.key.secret or "").partition(":")[2],
            testable=self._untestable(provider, keys) is None,
            untestable=self._untestable(provider, keys),
            simulated=self._is_simulated(provider),
            handlers=[one for one in await self._store.registered() if one.provider in {None, provider.name}],
        )

    async def test(self, ask: Ask) -> Response:
        """Send a callback that our own key signed to our own address, from outside if that is where it is."""
        import httpx

        from receiver.discreet import DiscreetClient

        provider = self._named(ask)
        keys, _ = self._keys(provider)
        reason = self._untestable(provider, keys)
        if reason is not None or provider.verify is None:
            raise ConflictError(reason or "It signs nothing.", code="test_impossible")
        url = self._addresses(provider)[0][1]
        async with ask.deed("test", subject=provider.name) as detail:
            headers = sign(_TEST, scheme=provider.verify, key=keys[0], now=ask.now, url=url)
            try:
                async with DiscreetClient(trust_env=False, timeout=_PATIENCE) as client:
                    answer = await client.post(
                        url, content=_TEST, headers=[(b"content-type", b"application/json"), *headers]
                    )
            except httpx.HTTPError as error:
                raise ProviderError(
                    f"{url} did not answer: {type(error).__name__}. Providers will not reach it either.",
                    code="test_unanswered",
                ) from error
            detail["status"] = answer.status_code
        if not answer.is_success:
            said = f"{url} answered {answer.status_code}: providers would be answered so too."
        else:
            said = "It arrived and was proved with the key in force. It names no job, so nothing came of it."
        return ask.redirect(f"/providers/{provider.name}", said=said)

    async def simulate(self, ask: Ask) -> Response:
        """Submit a job to the simulator."""
        provider = self._named(ask)
        if not self._is_simulated(provider):
            raise ConflictError(f"{provider.name} is not simulated here.", code="test_impossible")
        operation, request = _SIMULATED[provider.name]
        async with ask.deed("simulate", subject=provider.name) as detail:
            metadata = {"from": f"the console, {ask.visitor.who}"}
            submitted = await self._parts.submit(
                Order(provider=provider.name, request=request, operation=operation, metadata=metadata)
            )
            detail["job"] = submitted.job.id
        self._parts.notify()
        return ask.redirect(f"/jobs/{submitted.job.id}", said="Submitted to the simulator; watch it here.")

    def _named(self, ask: Ask) -> Provider:
        provider = self._parts.catalog.get(ask.named["name"])
        if provider is None:
            raise NotFoundError("There is no provider of that name.", code="provider_unknown")
        return provider

    def _keys(self, provider: Provider) -> tuple[list[Key], str]:
        """The keys that are configured, and what is missing."""
        if provider.key is None or provider.key.source != "settings":
            return [], ""
        try:
            return list(self._parts.keys.verifying(provider, job_id=None, master=None)), ""
        except ReceiverError as error:
            return [], str(error)

    async def _uses(self, provider: Provider, keys: list[Key]) -> list[KeyUse]:
        sought = Sought(provider=provider.name, limit=_LOOKED_AT)
        found = (await self._store.read(arrived.find, sought)).callbacks
        last: dict[str, int] = {}
        for one, _ in found:
            if one.key_id is not None:
                last.setdefault(one.key_id, one.received_at)
        newest = last.get(keys[0].id) if keys else None
        return [
            KeyUse(
                id=key.id,
                last=last.get(key.id),
                can_go=place > 0 and newest is not None and last.get(key.id, 0) < newest,
            )
            for place, key in enumerate(keys)
        ]

    def _addresses(self, provider: Provider) -> list[tuple[str, str]]:
        """What a person pastes at the vendor, and what is minted for each job."""
        settings = self._parts.settings
        root = (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")
        found = [("for the whole account, to paste at the vendor", f"{root}/webhooks/{provider.name}")]
        if provider.callback is None:
            return []
        if provider.callback.where == "registered":
            return found
        return [("minted for each job, and sent along with it", f"{root}/callbacks/{provider.name}/…")]

    def _untestable(self, provider: Provider, keys: list[Key]) -> str | None:
        """Why no test callback can be sent; ``None`` where one can."""
        if provider.callback is None:
            return "It does not call back."
        if provider.callback.where != "registered":
            return "Its addresses are minted for each job: submit one instead."
        if not keys:
            return "There is no key to sign one with."
        if provider.verify is None or provider.verify.kind in {"ed25519", "jwt", "ecdsa", "rsa"}:
            return "Only the provider has the key that signs; ours only verifies."
        if provider.verify.proof:
            return "It signs a part of its own bodies: receiver send makes one."
        return None

    def _is_simulated(self, provider: Provider) -> bool:
        return (
            provider.name in _SIMULATED
            and provider.relocated
            and all(is_loopback(urlsplit(origin).hostname or "") for origin in provider.origins)
        )

    def _lacks(self, provider: Provider) -> str:
        """What has to be set before jobs can be submitted or asked about; empty where nothing has to."""
        try:
            self._parts.keys.credentials(provider)
        except ReceiverError as error:
            return str(error)
        return ""


def _sentences(provider: Provider) -> list[str]:
    """What the description says, in words."""
    found = []
    callback, poll = provider.callback, provider.poll
    if callback is None:
        found.append("It does not call back: its jobs are polled.")
    else:
        carries = {
            Delivery.RESULT: "carries the result",
            Delivery.NOTIFICATION: "says only that the job is finished; the result is fetched",
            Delivery.NONE: "carries nothing",
        }
        expected = span(callback.expected, rough=True)
        found.append(
            f"It calls back; a callback {carries[callback.delivers]}. One is expected within {expected} of the "
            "submission; then polling takes over."
        )
        if provider.verify is not None:
            found.append(f"A callback is {_SCHEMES[provider.verify.kind]}.")
    if poll is not None:
        every, longest = (span(one, rough=True) for one in (poll.every, poll.longest))
        later = "" if every == longest else f" at first, and less often later, down to every {longest}"
        found.append(f"It is asked for a job's status every {every}{later}.")
    else:
        found.append("It cannot be asked for a job's status.")
    if provider.retention is not None:
        kept = span(provider.retention.keeps, rough=True)
        found.append(f"It keeps a result for {kept} from {provider.retention.counted_from}.")
    else:
        found.append("How long it keeps a result is not known.")
    if provider.fetch.single_use:
        found.append("A result can be fetched once; then it is gone there.")
    found.append("It can be asked to cancel." if provider.cancel is not None else "It has no way to cancel.")
    found.append(
        f"A job without a word for {span(provider.deadline, rough=True)} is given up. At most "
        f"{words.many(provider.limits.concurrency, 'request')} at once and {provider.limits.rate:g} a second go there."
    )
    return found
