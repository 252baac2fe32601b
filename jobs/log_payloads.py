"""What crosses the queue for logs: an upload as it came, or a question with the time that counts as now.

An upload is one line of JSON (its form) and then the unpacked body, so that a large body is never copied into
a JSON text. A question is JSON as a whole: the body or the parameters of the request, and `now`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast

from jobs.json_text import MAX_DEPTH, dump_json, load_json

UploadForm = Literal["otlp_protobuf", "otlp_json", "ndjson"]

MAX_PACKED_BYTES: Final = 20 * 1_048_576
MAX_UPLOAD_BYTES: Final = 64 * 1_048_576
MAX_QUESTION_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class Upload:
    """Log records as a client sent them; `strict` refuses lines with unknown keys."""

    form: UploadForm
    body: bytes
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """A request about logs: `asked` is its JSON body, or its query parameters as texts.

    `options` is what a POST says beside its body: `fresh` means that nothing precomputed is to be used.
    """

    now: datetime
    asked: Any
    options: Mapping[str, bool]


def upload_head(form: UploadForm, *, strict: bool) -> bytes:
    """What goes before the body of an upload."""
    return dump_json({"form": form, "strict": strict}) + b"\n"


def read_upload(payload: bytes) -> Upload:
    head, _, body = payload.partition(b"\n")
    told = cast("dict[str, Any]", load_json(head))
    return Upload(told["form"], body, told["strict"])


def question(asked: object, *, now: datetime, options: Mapping[str, bool]) -> bytes:
    return dump_json({"now": now.astimezone(UTC).isoformat(), "asked": asked, "options": dict(options)})


def read_question(payload: bytes) -> Question:
    told = cast("dict[str, Any]", load_json(payload, max_depth=MAX_DEPTH + 1))
    return Question(datetime.fromisoformat(told["now"]), told["asked"], told["options"])
