"""Rival (a), the ceiling of this stack: a Starlette route that reads the body and answers."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def take(request: Request) -> Response:
    """Read the body, and answer."""
    await request.body()
    return Response()


app = Starlette(routes=[Route("/callbacks/{provider}/{token}", take, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        http="httptools",
        loop="uvloop",
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=None,
        timeout_keep_alive=15,
        backlog=2048,
    )
