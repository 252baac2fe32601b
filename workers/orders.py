"""What a task asks of `workers/summaries.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jobs.summarization_request import SummarizationRequest


@dataclass(frozen=True, slots=True)
class Order:
    """One summary to be made: the request, and for whom. `arrived` is in UNIX seconds."""

    request: SummarizationRequest
    raw_bytes: int
    project_id: int
    job_id: str
    arrived: float
    forced_at: float | None
    check_canceled: Callable[[], None]
