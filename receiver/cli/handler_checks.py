"""The checks of ``receiver doctor`` about who is told of jobs that end: handlers and sinks, here and in the record."""

from collections.abc import Sequence

from receiver.catalog import Catalog
from receiver.cli import session
from receiver.cli.finding import FAIL, OK, WARN, Check, failed
from receiver.clock import read_clock
from receiver.core.errors import ConfigurationError
from receiver.running import Running
from receiver.settings import Settings
from receiver.sinks.sinks import Sinks


def check_told(settings: Settings, catalog: Catalog | None) -> tuple[list[str] | None, list[Check]]:
    """The names of handlers and sinks (``None`` where some cannot be loaded), and what was found; of handlers last."""
    sinks, found = _check_sinks(settings, catalog)
    names, handlers = _check_handlers(settings, catalog, sinks)
    checks = [handlers] if found is None else [found, handlers]
    return (None if names is None or sinks is None else [*names, *sinks]), checks


def _check_sinks(settings: Settings, catalog: Catalog | None) -> tuple[list[str] | None, Check | None]:
    """The names under which sinks are registered, and what was found; no check where no sink is configured."""
    try:
        configs = Sinks(settings, clock=read_clock).configs
        for one in configs:
            if catalog is not None and one.provider is not None and one.provider not in catalog:
                raise one.wrong("provider", f"no provider is called {one.provider!r}.")
    except ConfigurationError as error:
        return None, failed("sinks", error, "Correct it. Until then 'serve' refuses to start.")
    names = [one.handler for one in configs if one.completions]
    if not configs:
        return names, None
    return names, Check(
        name="sinks",
        status=OK,
        text=f"{', '.join(one.name for one in configs)}; 'receiver sinks test NAME' sends an example",
    )


def _check_handlers(
    settings: Settings, catalog: Catalog | None, sinks: Sequence[str] | None
) -> tuple[list[str] | None, Check]:
    """The names of the handlers (``None`` where they cannot be loaded), and what the check found."""
    if settings.handlers is None:
        if sinks:
            return [], Check(name="handlers", status=OK, text="none; completions go to sinks")
        return None, Check(
            name="handlers",
            status=WARN,
            text="RECEIVER_HANDLERS is not set: jobs end without anyone being told",
            next="Set it to module:object.",
        )
    try:
        specs = session.load_receiver(settings).handlers.specs
    except ConfigurationError as error:
        return None, failed("handlers", error, "Correct it; the module must be importable from here.")
    known = None if catalog is None else {None, "", *catalog}
    if known is not None and (
        unknown := sorted({str(one.provider) for one in specs if one.provider not in known})
    ):
        return None, Check(
            name="handlers",
            status=FAIL,
            text=f"one wants jobs of {unknown[0]!r}, and no provider has that name",
            next="'receiver providers list' names them.",
        )
    names = [one.name for one in specs]
    return names, Check(name="handlers", status=OK, text=", ".join(sorted(names)) or "none")


async def check_registered(running: Running, loaded: Sequence[str]) -> Check:
    """Whether the record knows the handlers and sinks that are *loaded* here, and no others."""
    registered = {one["name"] for one in await running.store.handlers()}
    if missing := sorted(set(loaded) - registered):
        return Check(
            name="handlers",
            status=WARN,
            text=f"not registered yet: {', '.join(missing)}",
            next="They get completions once 'receiver serve' has started with them.",
        )
    if gone := sorted(registered - set(loaded)):
        return Check(
            name="handlers",
            status=WARN,
            text=f"registered, but neither in RECEIVER_HANDLERS nor a sink that is set here: {', '.join(gone)}",
            next="Each completion still makes a dispatch for them, which is dead after an hour. If you removed them, "
            "restart what serves without them; then, for each that is still here: receiver handlers forget NAME",
        )
    return Check(name="handlers", status=OK, text=", ".join(sorted(loaded)) or "none")
