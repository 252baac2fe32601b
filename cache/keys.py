"""Key texts and fingerprints; pure.

Entity ids come from callers, so they only ever appear hashed: no id can collide with another key or make one
long. Everything else in a key is ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.json_text import dump_json
from jobs.summarization import EXTRACTIVE, PROMPT_VERSION, SCHEMA_VERSION, Mode, SummarizeType
from jobs.summarization_request import SummarizationRequest

ENTRY_PREFIX = "tg:sum:1"
INDEX_PREFIX = "tg:sum:index:1"
NEGATIVE_PREFIX = "tg:sum:negative:1"
FLOOR_PREFIX = "tg:sum:floor:1"
EPOCH_PREFIX = "tg:sum:epoch:1"
FLIGHT_PREFIX = "tg:flight:1"
FENCE_PREFIX = "tg:flight:fence:1"
FLIGHT_EPOCH_PREFIX = "tg:flight:epoch:1"
JOURNAL_PREFIX = "tg:flight:journal:1"
FLIGHT_CHANNEL = "tg:flight:ended:1"
PHONE_NUMBERS_PREFIX = "tg:integrations:numbers:1"
OAUTH_STATE_PREFIX = "tg:integrations:state:1"
TEXT_PREFIX = "tg:text:1"  # the number is the renderer's version: another version is another text


@dataclass(frozen=True, slots=True)
class SummaryKey:
    """What a summary is of. The content is not part of it: one entry per key, checked by fingerprint."""

    project_id: int
    summarize_type: SummarizeType
    entity_id: str
    mode: Mode
    variant: str

    @property
    def entity(self) -> str:
        """`{project}:{type}:{hash}`: what invalidation addresses."""
        return entity_text(self.project_id, self.summarize_type, self.entity_id)

    @property
    def member(self) -> str:
        """`{mode}:{variant}`: the entry within its entity."""
        return f"{self.mode}:{self.variant}"

    def text(self, epoch: int) -> str:
        """The entry's key in the cache store."""
        return f"{ENTRY_PREFIX}:{epoch}:{self.entity}:{self.member}"


def summary_key(project_id: int, request: SummarizationRequest, *, base_url: str) -> SummaryKey:
    """The key of a checked request; the offline summarizer has no provider, so no `base_url` either."""
    chosen = variant(
        requested_model=request.model,
        base_url="" if request.model == EXTRACTIVE else base_url,
        prompt_version=PROMPT_VERSION,
        schema_version=SCHEMA_VERSION,
        sampling={},
        focus=request.focus,
    )
    return SummaryKey(project_id, request.summarize_type, request.entity_id, request.mode, chosen)


def entity_text(project_id: int, summarize_type: SummarizeType, entity_id: str) -> str:
    return f"{project_id}:{summarize_type}:{_digest(_encoded(entity_id))[:32]}"


def variant(
    *,
    requested_model: str,
    base_url: str,
    prompt_version: int,
    schema_version: int,
    sampling: Mapping[str, object],
    focus: str,
) -> str:
    """16 hex digits over everything but the content that decides what the model answers."""
    settings = sorted(sampling.items())
    parts = [requested_model, base_url, prompt_version, schema_version, settings, focus]
    return _digest(dump_json(parts))[:16]


def content_fp(data: object) -> str:
    """SHA-256 over parsed JSON, written compactly in its own member order: white space never matters."""
    return _digest(dump_json(data))


def text_fp(renderer_version: int | str, text: str) -> str:
    """SHA-256 over the renderer's version and the numbered text shown to the model."""
    return _digest(f"{renderer_version}\n".encode() + _encoded(text))


def fingerprint(content: str, variant: str) -> str:
    """16 hex digits over content (its `content_fp`) and variant."""
    return _digest(f"{content}:{variant}".encode())[:16]


def text_key(
    project_id: int, event_type: str, entity_id: str, *, options: Mapping[str, object], data_fp: str
) -> str:
    """Key of a rendered text; `options` with defaults filled in, `data_fp` as `content_fp`."""
    chosen = _digest(dump_json(sorted(options.items())))[:16]
    return f"{TEXT_PREFIX}:{project_id}:{event_type}:{_digest(_encoded(entity_id))[:32]}:{chosen}:{data_fp}"


def phone_numbers_key(project_id: int, integration_id: int, generation: str) -> str:
    """Key of an integration's phone numbers; `generation` changes with every connect."""
    return f"{PHONE_NUMBERS_PREFIX}:{project_id}:{integration_id}:{generation}"


def oauth_state_key(state: str) -> str:
    """Key of a connect flow; by digest, so that the store holds nothing that completes it."""
    return f"{OAUTH_STATE_PREFIX}:{_digest(_encoded(state))}"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
