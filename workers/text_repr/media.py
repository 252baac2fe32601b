"""Placeholders for images, audio, video, documents and files: what it is, never the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MEDIA_KINDS = {
    "image": "image",
    "image_url": "image",
    "input_image": "image",
    "audio": "audio",
    "audio_url": "audio",
    "input_audio": "audio",
    "video": "video",
    "video_url": "video",
    "document": "document",
    "document_url": "document",
    "file": "",
    "input_file": "",
    "container_upload": "",
    "media": "",
}

_HOLDERS = (
    "source",
    "image_url",
    "input_image",
    "video_url",
    "audio_url",
    "document_url",
    "file_url",
    "input_audio",
    "audio",
    "file",
    "image",
    "video",
    "document",
    "inlineData",
    "inline_data",
    "fileData",
    "file_data",
    "s3Location",
)
_NAMES = ("filename", "name", "title")
_MEDIA_TYPES = ("media_type", "mediaType", "mimeType", "mime_type", "format")
_URIS = (
    "url",
    "uri",
    "fileUri",
    "file_uri",
    "image_url",
    "video_url",
    "audio_url",
    "document_url",
    "file_url",
)
_IDS = ("file_id", "fileId")
_DATA = ("data", "bytes", "base64", "file_data", "image")
_LEVELS = 3
_MAX_URI = 200

_Object = dict[str, object]


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the media is: inline with a size, or at an address."""

    uri: str = ""
    media_type: str = ""
    size: int | None = None


def placeholder(kind: str, block: _Object) -> str:
    """`[KIND: details]`; an empty kind is decided by the media type."""
    scopes = _scopes(block)
    source = _source(scopes)
    media_type = source.media_type or _first(scopes, _MEDIA_TYPES)
    kind = kind or _kind_of(media_type)
    details = [_first(scopes, _NAMES)]
    if source.size is not None:
        details += [media_type, f"{source.size:,} bytes"]
    else:
        details.append(_short(source.uri) or _first(scopes, _IDS) or media_type)
    shown = ", ".join(filter(None, details))
    return f"[{kind}: {shown}]" if shown else f"[{kind}]"


def _kind_of(media_type: str) -> str:
    family = media_type.partition("/")[0]
    return family if family in {"image", "audio", "video"} else "file"


def _scopes(block: _Object) -> list[_Object]:
    """The block and the objects that may hold its values, level by level."""
    scopes = level = [block]
    for _ in range(_LEVELS):
        level = [inner for outer in level for key in _HOLDERS if isinstance(inner := outer.get(key), dict)]
        scopes = scopes + level
    return scopes


def _strings(scopes: list[_Object], keys: tuple[str, ...]) -> Iterator[str]:
    for scope in scopes:
        for key in keys:
            value = scope.get(key)
            if isinstance(value, str) and value:
                yield value


def _first(scopes: list[_Object], keys: tuple[str, ...]) -> str:
    return next(_strings(scopes, keys), "")


def _source(scopes: list[_Object]) -> _Source:
    """Inline data before an address; a `data:` address is inline data, an address as data is none."""
    uri = _first(scopes, _URIS)
    if uri.startswith("data:"):
        return _inline(uri)
    for value in _data_values(scopes):
        if not isinstance(value, str):
            return _Source(size=_byte_count(value))
        if not value.startswith(("http://", "https://")):
            return _inline(value)
        uri = uri or value
    return _Source(uri=uri)


def _data_values(scopes: list[_Object]) -> Iterator[object]:
    for scope in scopes:
        for key in _DATA:
            value = scope.get(key)
            if value and (isinstance(value, str) or _byte_count(value) is not None):
                yield value


def _byte_count(value: object) -> int | None:
    """The number of elements of a byte array in one of its JSON forms."""
    if isinstance(value, list):
        return len(value)
    if not isinstance(value, dict):
        return None
    data = value.get("data")
    if value.get("type") == "Buffer" and isinstance(data, list):
        return len(data)
    return len(value) if "0" in value else None


def _inline(text: str) -> _Source:
    if not text.startswith("data:"):
        return _Source(size=_base64_size(text))
    head, _, data = text.partition(",")
    media_type = head[len("data:") :].partition(";")[0]
    size = _base64_size(data) if head.endswith(";base64") else len(data)
    return _Source(media_type=media_type, size=size)


def _base64_size(text: str) -> int:
    padding = len(text[-2:]) - len(text[-2:].rstrip("="))
    return max(3 * len(text) // 4 - padding, 0)


def _short(uri: str) -> str:
    return uri if len(uri) <= _MAX_URI else uri[:_MAX_URI] + "..."
