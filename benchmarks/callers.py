"""Many callers at once: reads a plan from standard input, prints the statuses."""

import asyncio
import json
import sys

import aiohttp


async def call_all(plan: dict) -> list[int]:
    url = f"http://127.0.0.1:{plan['port']}{plan['path']}"
    headers = {"Authorization": f"Bearer {plan['key']}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:

        async def call(body: dict) -> int:
            async with session.post(url, json=body) as answer:
                await answer.read()
                return answer.status

        return list(await asyncio.gather(*map(call, plan["bodies"])))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(call_all(json.load(sys.stdin)))))
