"""The steps that the worker hands due rows to, and how they are made."""

from collections.abc import Callable
from typing import NamedTuple

from receiver.core.model import Step
from receiver.steps.cancel import Cancel
from receiver.steps.collect import Collect
from receiver.steps.dispatch import RunDispatch
from receiver.steps.download import FetchFile
from receiver.steps.fetch import Fetch
from receiver.steps.gather import Gather
from receiver.steps.ingest import Ingest
from receiver.steps.keeping import Keeping
from receiver.steps.poll import Poll
from receiver.steps.submit import Submit
from receiver.storage.claims import Claimed


class Steps:
    """The steps that due rows are handed to."""

    def __init__(
        self,
        *,
        submit: Submit,
        poll: Poll,
        fetch: Fetch,
        gather: Gather,
        collect: Collect,
        cancel: Cancel,
        dispatch: RunDispatch,
        keeping: Keeping,
    ) -> None:
        self.submit = submit
        self.poll = poll
        self.fetch = fetch
        self.gather = gather
        self.collect = collect
        self.cancel = cancel
        self.dispatch = dispatch
        self.keeping = keeping

    async def recover(self) -> None:
        """Store what ended processes left behind."""
        await self.submit.recover()
        await self.keeping.recover()

    async def take(self, claimed: Claimed) -> object:
        """Do what a due row asks for."""
        if claimed.due.step is Step.LOOK and await self.keeping.concerns(claimed):
            return await self.keeping(claimed)
        match claimed.due.step:
            case Step.SUBMIT:
                return await self.submit.resume(claimed)
            case Step.CANCEL:
                return await self.cancel.send(claimed)
            case Step.LOOK if self.collect.concerns(claimed):
                return await self.collect(claimed)
            case Step.LOOK if claimed.due.result_url is not None:
                return await self.fetch(claimed)
            case Step.FILES:
                return await self.gather(claimed)
            case Step.LOOK:
                return await self.poll(claimed)


class Kinds(NamedTuple):
    """What the steps are made of: the plain ones, unless somebody puts something around them."""

    submit: Callable[..., Submit] = Submit
    ingest: Callable[..., Ingest] = Ingest
    steps: Callable[..., Steps] = Steps
    dispatch: Callable[..., RunDispatch] = RunDispatch
    collect: Callable[..., Collect] = Collect
    download: Callable[..., FetchFile] = FetchFile
