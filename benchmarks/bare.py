"""The least that an HTTP answer costs here: a FastAPI endpoint that does nothing."""

from fastapi import FastAPI, Request
from starlette.responses import Response

app = FastAPI(docs_url=None, redoc_url=None)


@app.post("/")
async def nothing(request: Request) -> Response:
    await request.body()
    return Response(b"{}", media_type="application/json")
