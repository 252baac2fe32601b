"""The least that a hand-over between two processes costs: one list in, one list out."""

import sys

import redis

REQUESTS, ANSWERS = "tg:bench:requests", "tg:bench:answers"


def serve(url: str) -> None:
    client = redis.Redis.from_url(url)
    while True:
        item = client.brpop([REQUESTS], timeout=30)
        if item is None or item[1] == b"end":
            return
        client.lpush(ANSWERS, item[1])


if __name__ == "__main__":
    serve(sys.argv[1])
