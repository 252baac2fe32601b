"""Many callers at once: reads a plan from standard input, prints the statuses and the seconds it took."""

import asyncio
import json
import sys
import time

import aiohttp
import uvloop

CONNECTIONS = 128  # more requests than the workers take at once are waiting all the time


async def call_all(plan: dict) -> tuple[list[int], float]:
    url = f"http://127.0.0.1:{plan['port']}{plan['path']}"
    headers = {"Authorization": f"Bearer {plan['key']}", "Content-Type": "application/json"}
    bodies = [json.dumps(body).encode() for body in plan["bodies"]]
    connector = aiohttp.TCPConnector(limit=plan.get("connections", CONNECTIONS))
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:

        async def call(body: bytes) -> int:
            async with session.post(url, data=body) as answer:
                await answer.read()
                return answer.status

        began = time.perf_counter()
        statuses = list(await asyncio.gather(*map(call, bodies)))
        return statuses, time.perf_counter() - began


if __name__ == "__main__":
    print(json.dumps(uvloop.run(call_all(json.load(sys.stdin)))))
