"""Pages of named origins may call; a preflight that is refused is answered like every other refusal."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from api_shim.errors import error_response
from jobs.errors import InvalidRequest


class Cors(CORSMiddleware):
    """The framework's answers to a refused preflight are plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        refusal = InvalidRequest("Pages of this origin may not call, or not like this.", code="cors_refused")
        return error_response(refusal, headers={"Vary": "Origin"})
