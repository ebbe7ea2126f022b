"""What a provider does in a test: it ends jobs, calls back, and misbehaves, all when it is told to."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import httpx

from receiver.core.description.provider import Provider as Description
from receiver.core.errors import ReceiverError
from receiver.core.model import DAY, Delivery, Job, JobState
from receiver.core.signature.keyform import Key, load_key
from receiver.core.signature.sign import signed_body
from receiver.testing.addressed import key_of, method_of, with_query
from receiver.testing.arguments import checked
from receiver.testing.clock import Clock
from receiver.testing.outcome import Answer, Outcome, handled
from receiver.testing.remote import Remote
from receiver.testing.signing import SignedRequest, account_key, headers_for, signed_paths, strangers_key
from receiver.testing.wire import Wire

if TYPE_CHECKING:
    from receiver.app import Receiver
    from receiver.testing.writing import Written

#: How often time leaps to what is due next before a job is taken for one that does not end.
_MOST_LEAPS: Final = 400
_BAD: Final = 300


class CannotError(ReceiverError):
    """This provider's description has no way to do what the test wants of it."""

    code = "kit_cannot"


@checked
class Provider:
    """Every provider that is described, in a test. What is awaited returns once all has been done that was due.

    Time leaps to what is due next where a job's end has to be asked for, so that no test waits for a poll.
    """

    def __init__(
        self,
        *,
        receiver: "Receiver",
        wire: Wire,
        clock: Clock,
        described: Callable[[], Mapping[str, Description]],
        public_url: str,
        api_token: str,
    ) -> None:
        self._receiver = receiver
        self._wire = wire
        self._clock = clock
        self._described = described
        self._public_url = public_url
        self._api_token = api_token
        self._early: dict[str, tuple[object]] = {}
        #: The last callback of each job, by the provider's id.
        self._sent: dict[str, list[SignedRequest]] = {}

    # -- what was asked ------------------------------------------------------------------------------------

    @property
    def asked(self) -> list[httpx.Request]:
        """Every request of the receiver to a provider, oldest first."""
        return self._wire.asked

    @property
    def unanswered(self) -> list[str]:
        """Requests to addresses that no description names: method and address."""
        return self._wire.unanswered

    # -- how a job ends ------------------------------------------------------------------------------------

    async def complete(self, job: Job, result: object = None) -> Outcome:
        """End *job* with *result*, tell the receiver as this provider does, and let handlers run.

        Args:
            job: The job.
            result: What ``job.result`` is to hold: JSON, or bytes where this provider's results have an address of
                their own. Where the provider's whole answer is the result, it gets what the description needs besides.

        Raises:
            CannotError: this provider cannot say so.
            AssertionError: the receiver refused its callback, or the job did not end.
        """
        remote = self._remote(job)
        remote.end(JobState.SUCCEEDED, result=result)
        return await self._tell(job, remote)

    async def fail(self, job: Job, reason: str = "The provider could not do it") -> Outcome:
        """End *job* as failed for *reason*; raises as ``complete`` does."""
        remote = self._remote(job)
        remote.end(JobState.FAILED, reason=reason)
        return await self._tell(job, remote)

    async def lose_result(self, job: Job) -> Outcome:
        """End *job* as succeeded, and have nothing when its result is asked for; raises as ``complete`` does."""
        remote = self._remote(job)
        if remote.provider.poll is None:
            raise CannotError(
                f"{job.provider} sends its results; there is no address where one could be lost."
            )
        remote.end(JobState.SUCCEEDED)
        named = remote.told(remote.provider.poll.answer) is not None and remote.result_url is not None
        if not named and job.delivery is not Delivery.NOTIFICATION:
            raise CannotError(f"{job.provider} brings its result with the word that there is one.")
        # The success must be told before the result is gone: by an answer that names its address, or by a callback.
        remote.lost = "result" if named else "all"
        return await self._tell(job, remote)

    async def never(self, job: Job) -> Outcome:
        """Say nothing of *job*'s end until its deadline has passed; raises AssertionError if it ends all the same."""
        remote = self._remote(job)
        self._clock.reach(job.deadline_at)
        return await self._ended(job, remote, ())

    async def begin(self, job: Job) -> Outcome:
        """Say that *job* is at work: in a callback where this provider tells so much, else when it is asked next."""
        remote = self._remote(job)
        answers: list[Answer] = []
        if job.delivery is not Delivery.NONE:
            with suppress(CannotError):
                answers = [await self._send(one) for one in self._callbacks(remote, job.delivery)]
        due = await self._receiver.idle()
        if not answers and due is not None:
            self._clock.reach(due)
            await self._receiver.idle()
        return await self._outcome(job, answers)

    async def settle(self, job: Job) -> Outcome:
        """Let time pass until *job* has ended, as after ``receiver.cancel``; raises AssertionError if it never does."""
        return await self._ended(job, self._remote(job), ())

    async def early(self, provider: str, result: object = None) -> None:
        """Have the next job submitted to *provider* end, and its callback arrive, before its submission is answered."""
        if self.description(provider).callback is None:
            raise CannotError(f"{provider} does not call back.")
        self._early[provider] = (result,)

    # -- callbacks that are not as they should be ----------------------------------------------------------

    async def duplicate(self, job: Job) -> Outcome:
        """Send the callback of *job* once more, as it was; raises CannotError where there was none."""
        remote = self._remote(job)
        sent = self._sent.get(remote.id)
        if not sent:
            raise CannotError(f"{job.provider} has not called back for {job.id} yet.")
        return await self._outcome(job, [await self._send(one) for one in sent])

    async def forge(self, job: Job, result: object = None) -> Outcome:
        """Have a stranger call back for *job*, with *result*; the provider itself says nothing of an end.

        Where the provider signs nothing, the stranger knows the address.
        """
        return await self._misbehave(job, result, stranger=True)

    async def stale(self, job: Job, result: object = None) -> Outcome:
        """Send a callback for *job* that was signed a day ago; raises CannotError where no time is signed."""
        scheme = self.description(job.provider).verify
        if scheme is None or not (scheme.timestamp or scheme.kind == "jwt"):
            raise CannotError(f"{job.provider} signs no time, so none of its callbacks is ever stale.")
        return await self._misbehave(job, result, shift=-DAY)

    async def deliver(self, job: Job, body: bytes, *, content_type: str = "application/json") -> Outcome:
        """Send a callback for *job* with a *body* of the test's own, signed as this provider signs.

        Raises:
            CannotError: the provider does not call back for it.
        """
        remote = self._remote(job)
        terms = remote.provider.callback
        if terms is None or remote.callback_url is None:
            raise CannotError(f"{job.provider} does not call back for {job.id}.")
        written = _Plain(body, {"content-type": content_type})
        url = with_query(remote.callback_url, {}, remote.id)
        answer = await self._send(
            self._request(remote.provider, written, url, method_of(terms), key_of(remote))
        )
        await self._receiver.idle()
        return await self._outcome(job, [answer])

    # -- requests ------------------------------------------------------------------------------------------

    def description(self, provider: str) -> Description:
        """The description of *provider*; raises CannotError where there is none."""
        try:
            return self._described()[provider]
        except KeyError:
            raise CannotError(f"No provider is called {provider!r}.") from None

    def signed(
        self,
        provider: str,
        body: bytes,
        *,
        url: str | None = None,
        method: str = "POST",
        content_type: str = "application/json",
        delivery_id: str | None = None,
        secret: str | None = None,
    ) -> SignedRequest:
        """A request with *body*, signed as *provider* signs, at the time that the clock tells.

        Args:
            provider: Its name.
            body: What it says.
            url: Where it goes; the account's webhook endpoint if left out.
            method: The HTTP method.
            content_type: What the body is.
            delivery_id: The same for every repetition, where the provider has such an id; made up if left out.
            secret: The key, where each job has its own.
        """
        described = self.description(provider)
        key = None if described.verify is None or not described.signed else account_key(described)
        if secret is not None and described.verify is not None:
            key = load_key("kit", secret, scheme=described.verify)
        written = _Plain(body, {"content-type": content_type})
        where = url or f"{self._public_url}/webhooks/{provider}"
        return self._request(described, written, where, method, key, delivery_id=delivery_id)

    async def send(self, request: SignedRequest) -> Answer:
        """Send a request to the receiver: what it answered."""
        await self._receiver.idle()
        return await self._send(request)

    def serve(self, url: str, content: bytes, *, content_type: str = "application/octet-stream") -> None:
        """Have *content* at *url*, for results that are links."""
        self._wire.served[url] = httpx.Response(200, content=content, headers={"content-type": content_type})

    # -- underneath ----------------------------------------------------------------------------------------

    async def overtake(self, remote: Remote) -> None:
        """End a job whose submission is being answered, if that was ordered."""
        ordered = self._early.pop(remote.provider.name, None)
        if ordered is not None:
            remote.end(JobState.SUCCEEDED, result=ordered[0])
            for one in self._callbacks(remote, remote.provider.deliveries[0]):
                await self._send(one)

    def _remote(self, job: Job) -> Remote:
        found = self._wire.jobs.get(job.remote_id or "")
        if found is None:
            raise CannotError(f"{job.id} is at no provider of this test; its submission is {job.submission}.")
        return found

    async def _tell(self, job: Job, remote: Remote) -> Outcome:
        poll = remote.provider.poll
        asked = poll is not None and remote.told(poll.answer) is not None
        if job.delivery is not Delivery.RESULT and poll is not None and not asked:
            raise CannotError(
                f"The description of {job.provider} has no answer that says {remote.state} with this result."
            )
        answers = []
        if job.delivery is not Delivery.NONE:
            try:
                requests = self._sent[remote.id] = self._callbacks(remote, job.delivery)
            except CannotError:
                if not asked:
                    raise
                # Only who asks is told of such an end.
                requests = []
            answers = [await self._send(one) for one in requests]
            refused = [one for one in answers if one.status >= _BAD]
            assert not refused, f"the receiver refused a genuine callback of {job.provider}: {refused[0]}"  # noqa: S101
        return await self._ended(job, remote, answers)

    async def _ended(self, job: Job, remote: Remote, answers: "list[Answer] | tuple[()]") -> Outcome:
        for _ in range(_MOST_LEAPS):
            due = await self._receiver.idle()
            now = await self._receiver.job(job.id)
            if now.state.ended:
                return await self._outcome(job, answers)
            if due is None:
                break
            self._clock.reach(due)
        unanswered = f"; nobody answered {', '.join(self.unanswered)}" if self.unanswered else ""
        raise AssertionError(
            f"{job.id} is {now.state}, though {job.provider} says {remote.state}{unanswered}"
        )

    async def _misbehave(
        self, job: Job, result: object, *, stranger: bool = False, shift: int = 0
    ) -> Outcome:
        truth = self._remote(job)
        remote = Remote(truth.provider, truth.id, callback_url=truth.callback_url, secret=truth.secret)
        if remote.callback_url is None:
            raise CannotError(f"{job.provider} does not call back for {job.id}.")
        remote.end(JobState.SUCCEEDED, result=result)
        requests = self._callbacks(remote, job.delivery, stranger=stranger, shift=shift)
        answers = [await self._send(one) for one in requests]
        await self._receiver.idle()
        return await self._outcome(job, answers)

    def _callbacks(
        self, remote: Remote, delivery: Delivery, *, stranger: bool = False, shift: int = 0
    ) -> list[SignedRequest]:
        described, terms = remote.provider, remote.provider.callback
        if terms is None or remote.callback_url is None:
            return []
        scheme = described.verify
        assert scheme is not None  # noqa: S101  (a description with callbacks has one)
        if described.key is not None and described.key.source == "certificate":
            raise CannotError(
                f"{described.name} proves its callbacks by a certificate that the kit does not have."
            )
        name = terms.notification if delivery is Delivery.NOTIFICATION else terms.result
        written = remote.told(name, delivery=delivery, also=signed_paths(scheme, now=self._clock() + shift))
        if written is None:
            raise CannotError(
                f"The description of {described.name} has no callback that says {remote.state} with this result; "
                "provider.signed() and provider.send() send any body."
            )
        key = strangers_key(scheme) if stranger and described.signed else key_of(remote)
        url = with_query(remote.callback_url, written.query, remote.id)
        return [self._request(described, written, url, method_of(terms), key, shift=shift)]

    def _request(
        self,
        described: Description,
        written: "Written | _Plain",
        url: str,
        method: str,
        key: Key | None,
        *,
        shift: int = 0,
        delivery_id: str | None = None,
    ) -> SignedRequest:
        proof: list[tuple[str, str]] = []
        body = written.body
        if key is not None and described.verify is not None:
            body = signed_body(body, scheme=described.verify, key=key)
            proof = headers_for(
                described.verify,
                key,
                body=written.body,
                url=url,
                method=method,
                now=self._clock() + shift,
                delivery_id=delivery_id,
                claims=written.claims,
            )
        named = {name.lower() for name, _ in proof}
        headers = [pair for pair in written.headers.items() if pair[0].lower() not in named]
        return SignedRequest(method=method, url=url, headers=(*headers, *proof), body=body)

    async def _send(self, request: SignedRequest) -> Answer:
        async with self._client() as client:
            answered = await client.request(
                request.method, request.url, content=request.body, headers=list(request.headers)
            )
        try:
            code = answered.json().get("code")
        except (ValueError, AttributeError):
            code = None
        return Answer(status=answered.status_code, code=code)

    async def _outcome(self, job: Job, answers: "list[Answer] | tuple[()]") -> Outcome:
        found = await self._receiver.job(job.id)
        if found.state.ended:
            found = await self._receiver.wait(job.id, timeout=1)
        headers = {"authorization": f"Bearer {self._api_token}"}
        async with self._client() as client:
            shown = await client.get(f"{self._public_url}/v1/jobs/{job.id}", headers=headers)
        return Outcome(job=found, answers=tuple(answers), handled=tuple(handled(shown.json()["timeline"])))

    def _client(self) -> httpx.AsyncClient:
        # A fresh one each time: it opens nothing.
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=self._receiver.asgi), timeout=30)


class _Plain:
    """A body that a test has made."""

    query: Mapping[str, str] = {}
    claims: Mapping[str, Any] = {}

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        self.body = body
        self.headers = headers
