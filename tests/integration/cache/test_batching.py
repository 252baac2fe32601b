from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis
from redis.exceptions import ResponseError

from cache.batching import LARGE_BYTES, BatchingRedis
from cache.connection import cache_client, coordination_client
from tests.integration.cache.support import Server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(server: Server) -> AsyncIterator[BatchingRedis]:
    opened = coordination_client(server.url)
    assert isinstance(opened, BatchingRedis)
    yield opened
    await opened.aclose()


async def test_each_of_many_callers_gets_its_own_reply(client: BatchingRedis) -> None:
    await asyncio.gather(*(client.set(f"k{number}", number) for number in range(300)))

    found = await asyncio.gather(*(client.get(f"k{number}") for number in range(300)))

    assert found == [str(number).encode() for number in range(300)]


async def test_commands_issued_together_travel_together(client: BatchingRedis, server: Server) -> None:
    await client.set("k", 1)
    with redis.Redis.from_url(server.url) as looking:
        before = looking.info("stats")["total_reads_processed"]
        await asyncio.gather(*(client.get("k") for _ in range(300)))
        reads = looking.info("stats")["total_reads_processed"] - before

    assert reads < 30


async def test_error_of_one_command_is_not_the_others(client: BatchingRedis) -> None:
    await client.set("text", "x")

    replies = await asyncio.gather(
        client.get("text"), client.hget("text", "f"), client.get("text"), return_exceptions=True
    )

    assert replies[0] == replies[2] == b"x"
    assert isinstance(replies[1], ResponseError)


async def test_reply_of_a_caller_that_left_goes_to_nobody(client: BatchingRedis) -> None:
    await asyncio.gather(*(client.set(f"k{number}", number) for number in range(3)))
    tasks = [asyncio.ensure_future(client.get(f"k{number}")) for number in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()

    found = await asyncio.gather(*tasks, return_exceptions=True)

    assert found[0] == b"0"
    assert isinstance(found[1], asyncio.CancelledError)
    assert found[2] == b"2"


async def test_replies_are_read_as_their_commands_promise(client: BatchingRedis) -> None:
    await client.hset("h", mapping={"a": 1})

    found = await asyncio.gather(client.hgetall("h"), client.exists("h"), client.expire("h", 5))

    assert found == [{b"a": b"1"}, 1, True]


async def test_large_value_passes(client: BatchingRedis) -> None:
    await asyncio.gather(client.set("large", b"x" * 10 * LARGE_BYTES), client.set("small", b"y"))

    large, small = await asyncio.gather(client.get("large"), client.get("small"))

    assert (len(large or b""), small) == (10 * LARGE_BYTES, b"y")


async def test_restarted_server_is_found_again(spare_server: Server) -> None:
    client = coordination_client(spare_server.url)
    await client.set("k", 1)
    spare_server.stop()
    spare_server.start()

    found = await asyncio.gather(*(client.get("k") for _ in range(3)))

    await client.aclose()
    assert found == [None] * 3


async def test_absent_server_fails_all_who_ask(spare_server: Server) -> None:
    client = cache_client(spare_server.url)
    await client.set("k", 1)
    spare_server.stop()

    first = await asyncio.gather(*(client.get("k") for _ in range(3)), return_exceptions=True)
    second = await asyncio.gather(*(client.get("k") for _ in range(3)), return_exceptions=True)

    await client.aclose()
    assert all(isinstance(reply, redis.ConnectionError) for reply in (*first, *second))


async def test_server_that_falls_silent_fails_all_who_ask(server: Server) -> None:
    client = cache_client(server.url, timeout_s=0.02)
    await client.set("k", 1)
    with redis.Redis.from_url(server.url) as other:
        other.client_pause(1000)
        found = await asyncio.gather(*(client.get("k") for _ in range(3)), return_exceptions=True)
        other.client_unpause()

    assert all(isinstance(reply, redis.TimeoutError) for reply in found)
    assert await client.get("k") == b"1"
    await client.aclose()


async def test_connection_that_was_idle_for_long_is_opened_anew(server: Server) -> None:
    client = coordination_client(server.url)
    first = await client.execute_command("INCR", "opened")
    with redis.Redis.from_url(server.url) as looking:
        before = looking.info("stats")["total_connections_received"]
        client.get_connection_kwargs()["health_check_interval"] = 0
        second = await client.execute_command("INCR", "opened")
        after = looking.info("stats")["total_connections_received"]
    await client.aclose()

    assert second == first + 1
    assert after == before + 1


async def test_server_that_is_still_loading_is_asked_again() -> None:
    replies = iter([b"-LOADING Redis is loading the dataset in memory\r\n", b"$1\r\nx\r\n"])

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while command := await reader.read(1000):
            writer.write(next(replies) if b"GET" in command else b"+PONG\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        client = coordination_client(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0")
        found = await client.get("k")
        await client.aclose()

    assert found == b"x"


async def test_command_that_cannot_be_sent_does_not_hinder_others(client: BatchingRedis) -> None:
    await client.set("k", 1)

    found = await asyncio.gather(
        client.execute_command("SET", "k", object()), client.get("k"), return_exceptions=True
    )

    assert isinstance(found[0], TypeError)
    assert found[1] == b"1"


async def test_closing_ends_the_wait_for_replies(server: Server) -> None:
    client = coordination_client(server.url)
    await client.set("k", 1)
    asking = asyncio.ensure_future(client.get("k"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    await client.aclose()
    await asyncio.wait({asking}, timeout=5)

    assert asking.done()
