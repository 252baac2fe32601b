"""Read a file of traces in any of the known formats, as the items of a bulk job.

Native files are read line by line. Formats whose records must be gathered into traces are read whole.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import IO, Any, Final

from jobs.json_text import JsonSyntaxError, dump_json, load_json
from tracegist.formats import langfuse, posthog, spans
from tracegist.formats.tree import Json, Trace

NATIVE: Final = "native"
LISTS = ("results", "data", "events", "items", "traces")  # what wraps the records in API answers


class UnknownFormat(Exception):
    """Nothing in the file looks like a trace; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a bulk job: the body of a summary request, with a `custom_id` where the file has one."""

    body: Json

    @property
    def data(self) -> Json:
        data: Json = self.body["data"]
        return data


@dataclass(frozen=True, slots=True)
class Format:
    name: str
    matches: Callable[[Mapping[str, Any]], bool]
    traces: Callable[[Iterable[Mapping[str, Any]]], Iterable[Trace]]


FORMATS: Final = (
    Format("otlp", spans.matches, spans.traces),
    Format("langfuse", langfuse.matches, langfuse.traces),
    Format("posthog", posthog.matches, posthog.traces),
)
NAMES: Final = (NATIVE, *(each.name for each in FORMATS))


def read_items(stream: Iterable[bytes], *, name: str | None = None) -> tuple[str, Iterator[Item]]:
    """The format of the file (`name`, or the one that its first record shows) and its items.

    Raises:
        UnknownFormat: no record, or none of a known form.
        JsonSyntaxError: a record before the first item is no JSON; later ones raise while iterating.
    """
    records = _records(stream)
    first = next(records, None)
    if first is None:
        raise UnknownFormat("The file holds no JSON object.")
    records = chain([first], records)
    if name == NATIVE or (name is None and _is_native(first)):
        return NATIVE, (Item(_native(record)) for record in records)
    chosen = _format(first, name)
    return chosen.name, _gathered(chosen, records)


def read_requests(stream: IO[bytes], *, name: str | None = None) -> tuple[str, Iterator[bytes]]:
    """The same as request lines for a bulk upload, with one difference: a line of a native file that is no
    JSON is passed on as it is. It becomes an item that failed; the others are not held up by it.

    Raises:
        UnknownFormat, JsonSyntaxError: as `read_items`.
    """
    head = stream.readline().removeprefix(codecs.BOM_UTF8)
    while head and not head.strip():
        head = stream.readline()
    if name in (None, NATIVE) and _is_native_line(head):
        return NATIVE, (_native_line(line) for line in chain([head], stream) if line.strip())
    found, items = read_items(chain([head], stream), name=name)
    return found, (dump_json(item.body) for item in items)


def _is_native_line(line: bytes) -> bool:
    try:
        value = load_json(line)
    except JsonSyntaxError:
        return False
    return isinstance(value, dict) and _is_native(value)


def _native_line(line: bytes) -> bytes:
    try:
        value = load_json(line)
    except JsonSyntaxError:
        return line.strip()
    return dump_json(_native(value)) if isinstance(value, dict) and _is_native(value) else line.strip()


def _gathered(chosen: Format, records: Iterable[Mapping[str, Any]]) -> Iterator[Item]:
    for trace in chosen.traces(record for record in records if chosen.matches(record)):
        yield Item({"custom_id": trace.id[:128], "summarize_type": "trace", "data": trace.data()})


def _format(record: Mapping[str, Any], name: str | None) -> Format:
    for each in FORMATS:
        if each.name == name or (name is None and each.matches(record)):
            return each
    raise UnknownFormat(
        "The first record is none of the known forms: a summary request or trace, exported $ai_* events, "
        "OTLP/JSON or OpenInference spans, or Langfuse traces."
    )


def _is_native(record: Mapping[str, Any]) -> bool:
    if isinstance(record.get("data"), dict) or "hierarchy" in record:
        return True
    event = record.get("event")
    return isinstance(event, dict)


def _native(record: Mapping[str, Any]) -> Json:
    """A request as it is; a bare trace or event becomes the `data` of one."""
    if isinstance(record.get("data"), dict):
        kind = "event" if "event" in record["data"] and "hierarchy" not in record["data"] else "trace"
        return {"summarize_type": kind, **record}
    extra = {"custom_id": record["custom_id"]} if "custom_id" in record else {}
    if "hierarchy" in record:
        data = {"trace": record.get("trace"), "hierarchy": record["hierarchy"]}
        return {**extra, "summarize_type": "trace", "data": data}
    return {**extra, "summarize_type": "event", "data": {"event": record.get("event")}}


# records ----------------------------------------------------------------------------------------------


def _records(stream: Iterable[bytes]) -> Iterator[Json]:
    """The objects of NDJSON, of one JSON document, or of the list that the document is or wraps."""
    lines = (line for line in stream if line.strip())
    first = next(lines, None)
    if first is None:
        return
    first = first.removeprefix(codecs.BOM_UTF8)
    try:
        head = load_json(first)
    except JsonSyntaxError:
        # Not one object a line: one document over many lines.
        yield from _unwrapped(load_json(first + b"".join(lines)))
        return
    yield from _unwrapped(head)
    for line in lines:
        yield from _unwrapped(load_json(line))


def _unwrapped(value: Any) -> Iterator[Json]:
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, dict))
    elif isinstance(value, dict):
        inner = next((value[key] for key in LISTS if isinstance(value.get(key), list)), None)
        known = _is_native(value) or any(each.matches(value) for each in FORMATS)
        if inner is None or known:
            yield value
        else:
            yield from (item for item in inner if isinstance(item, dict))
