"""Acting: what is changed through ``/v1`` goes on record, with where it came from."""

from starlette.requests import Request

from receiver.steps.deed import Actor


def actor(request: Request) -> Actor:
    """Who asks: whoever holds the API token, from the address that is connected."""
    return Actor(who="api", known={"from": request.client.host} if request.client is not None else {})
