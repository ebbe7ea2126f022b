"""Where a callback goes, how, and signed with what."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from receiver.core.description.callbacks import CallbackTerms
from receiver.core.signature.keyform import Key, load_key
from receiver.testing.remote import Remote
from receiver.testing.signing import account_key


def key_of(remote: Remote) -> Key | None:
    """What the callbacks of a job are signed with; ``None`` where its provider signs nothing."""
    scheme = remote.provider.verify
    if scheme is None or not remote.provider.signed:
        return None
    return (
        account_key(remote.provider)
        if remote.secret is None
        else load_key("kit", remote.secret, scheme=scheme)
    )


def method_of(terms: CallbackTerms) -> str:
    """How it is sent."""
    return next(one for one in terms.methods if one != "OPTIONS")


def with_query(url: str, query: Mapping[str, str], job_id: str) -> str:
    """The address of a callback with what the provider fills in, or adds."""
    parts = urlsplit(url)
    fields = [(name, job_id if value == "$id" else value) for name, value in parse_qsl(parts.query)]
    fields = [(name, "" if value.startswith("$") else value) for name, value in fields]
    fields += [(name, value) for name, value in query.items() if name not in dict(fields)]
    return urlunsplit(parts._replace(query=urlencode(fields)))
