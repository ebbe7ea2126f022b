"""Rival (a), the ceiling of this stack: a Starlette route that reads the body and answers."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.bench.rivals.serving import serve


async def take(request: Request) -> Response:
    """Read the body, and answer."""
    await request.body()
    return Response()


app = Starlette(routes=[Route("/callbacks/{provider}/{token}", take, methods=["POST"])])

if __name__ == "__main__":
    serve(app)
