"""`python -m api_shim`: serve the shim. Everything but the address is in the settings."""

from __future__ import annotations

import argparse

import uvicorn

from api_shim.http_protocol import HttpProtocol


def main() -> None:
    words = argparse.ArgumentParser(prog="python -m api_shim", description=__doc__)
    words.add_argument("--host", default="127.0.0.1")
    words.add_argument("--port", type=int, default=8000)
    words.add_argument(
        "--grace-s", type=int, help="how long requests may go on at a stop; default: to their end"
    )
    given = words.parse_args()
    uvicorn.run(
        "api_shim.app:create_app",
        factory=True,
        host=given.host,
        port=given.port,
        loop="uvloop",
        http=HttpProtocol,
        ws="none",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `edge.py` knows which peers to believe
        log_level="warning",
        timeout_graceful_shutdown=given.grace_s,
    )


if __name__ == "__main__":
    main()
