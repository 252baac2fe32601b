"""Every knob of the product, read once at start; nobody else reads the environment.

A setting `summary_model` is the variable `TRACEGIST_SUMMARY_MODEL`, well-known names (`REDIS_URL`, ...) are
taken as they are, and `NAME_FILE` names a file that holds the value. An empty variable counts as not set.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from config.providers import KINDS, OAuthOptions
from config.rates import parse_rates

WELL_KNOWN = {"redis_url", "database_url", "clickhouse_url", "openai_api_key", "openai_base_url"}
RATE_SETTINGS = (
    "rate_default",
    "rate_logs",
    "rate_summarization",
    "rate_text_repr",
    "rate_insight",
    "auth_failures",
)

Seconds = Annotated[float, Field(gt=0)]


class SettingsError(ValueError):
    """A variable has a value that cannot be used; the message names the variable, never the value."""


class ModelPrice(BaseModel):
    """US dollars per 1,000,000 tokens. Other members of a price list are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached_input: float | None = Field(None, ge=0)
    cache_write: float | None = Field(None, ge=0)
    batch_factor: float = Field(0.5, ge=0, le=1)


class Settings(BaseModel):
    """All settings. Field descriptions are the reference page (`docs/reference/settings.md`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # services
    redis_url: str = Field(
        "", description="Redis or Valkey: job records, locks, limits. Empty: the embedded Valkey."
    )
    broker_url: str = Field(
        "", description="Celery broker, `redis://` or `amqp://`. Empty: the same as REDIS_URL."
    )
    database_url: str = Field(
        "", description="SQLAlchemy address of the metadata database. Empty: SQLite in the data folder."
    )
    data_dir: Path = Field(
        Path("data"), description="Folder of the embedded services and of generated secrets."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged."
    )
    log_format: Literal["console", "json"] = Field("console", description="Form of log lines.")

    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port on which a worker serves its metrics. 0: none."
    )

    # HTTP
    public_url: str = Field(
        "", description="Base of absolute links. Empty: from the request, for allowed hosts only."
    )
    allowed_hosts: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1", "[::1]"), description="Hosts a request may name when PUBLIC_URL is empty."
    )
    trusted_proxies: tuple[str, ...] = Field((), description="Peers whose forwarded headers count.")
    cors_origins: tuple[str, ...] = Field((), description="Origins that get CORS headers.")
    max_body_bytes: int = Field(33_554_432, ge=1, description="Largest request body as sent.")
    max_decoded_body_bytes: int = Field(134_217_728, ge=1, description="Largest request body after gzip.")
    sync_wait_s: float = Field(60, ge=0, description="Longest synchronous wait, and longest `Prefer: wait`.")

    # throttles
    rate_limits: bool = Field(False, description="Whether requests are throttled, by key and bucket.")
    rate_default: tuple[str, ...] = Field(
        ("480/minute", "4800/hour"), description="Rates of all routes without a bucket of their own."
    )
    rate_logs: tuple[str, ...] = Field(
        ("240/minute", "1200/hour"), description="Rates of the four routes that ask logs."
    )
    rate_summarization: tuple[str, ...] = Field(
        ("50/minute", "200/hour", "500/day"), description="Rates of single summaries."
    )
    rate_text_repr: tuple[str, ...] = Field(
        ("120/minute", "600/hour"), description="Rates of text representations."
    )
    rate_insight: tuple[str, ...] = Field(
        ("10/minute", "100/day"), description="Rates of the insight tool; counted by user, not by key."
    )
    auth_failures: tuple[str, ...] = Field(
        (),
        description="Rates of requests without a valid key from one address, such as `60/minute`. Empty: no limit.",
    )

    # jobs
    max_queued: int = Field(10_000, ge=1, description="Jobs in one queue before calls are answered 503.")
    queue_ttl_s: Seconds = Field(3600, description="Time in the queue after which a job expires.")
    result_ttl_s: Seconds = Field(86_400, description="How long the result of a single job is kept.")
    bulk_result_ttl_s: Seconds = Field(7 * 86_400, description="How long the rows of a bulk job are kept.")
    bulk_max_items: int = Field(10_000, ge=1, description="Most items of one bulk job.")
    bulk_max_bytes: int = Field(
        268_435_456, ge=1, description="Largest upload of a bulk job, as sent and after gzip."
    )
    bulk_chunk: int = Field(32, ge=1, description="Items that one queue task of a bulk job carries.")
    bulk_concurrency: int = Field(
        256, ge=1, description="Summaries of bulk jobs that one LLM worker process runs at once."
    )
    bulk_batch_poll_s: Seconds = Field(
        30, description="How often a batch at the provider's batch interface is looked at."
    )
    job_retention_s: Seconds = Field(30 * 86_400, description="How long a job record is kept.")
    job_heartbeat_s: Seconds = Field(
        3, description="How often a worker renews its running jobs and its own heartbeat."
    )
    job_lease_s: Seconds = Field(15, description="A worker that was silent for so long is taken for dead.")
    llm_concurrency: int = Field(
        64, ge=1, description="Requests to the model that one LLM worker process has under way at once."
    )
    render_processes: int = Field(2, ge=1, description="Processes of the render worker.")

    webhook_allow_private: bool = Field(
        False, description="Webhooks may lead into private networks, also by plain http."
    )
    webhook_concurrency: int = Field(16, ge=1, description="Webhook messages that are sent at once.")

    # logs
    clickhouse_url: str = Field(
        "",
        description="ClickHouse server of the logs, `http://user:password@host:8123/database`, or "
        "`chdb:///folder`. Empty: chDB in the data folder, opened by the one logs worker.",
    )
    clickhouse_cluster: str = Field(
        "", description="Cluster on which the tables of the logs are made and replicated. Empty: one server."
    )
    logs_memory_bytes: int = Field(
        2_147_483_648, ge=1, description="Memory of chDB in the logs worker, all queries together."
    )
    logs_concurrency: int = Field(16, ge=4, description="Log jobs that one logs worker runs at once.")
    logs_uploads: int = Field(
        4, ge=1, description="Uploads of logs that one worker stores at once; others wait, then get 503."
    )
    logs_project_queries: int = Field(
        4, ge=1, description="Log queries of one project at once; others wait a moment, then get 429."
    )
    logs_query_timeout_s: Seconds = Field(
        30, description="Run time of one log query, all its parts together."
    )
    logs_query_memory_bytes: int = Field(1_073_741_824, ge=1, description="Memory of one log query.")
    logs_query_threads: int = Field(2, ge=1, description="Threads of one log query.")
    logs_read_bytes: int = Field(5_000_000_000, ge=1, description="Bytes that one log query may read.")
    logs_precompute_interval_s: int = Field(
        60, ge=0, description="How often usual sparklines of active projects are counted ahead. 0: never."
    )
    logs_check_interval_s: int = Field(
        3600, ge=0, description="How often the rollups of the logs are compared with the records. 0: never."
    )
    logs_retention_days: int = Field(
        0,
        ge=0,
        description="How long log records are kept at least, counted from their arrival; they go in whole "
        "weeks. 0: for ever.",
    )

    # summaries
    openai_api_key: str = Field("", description="Key of the model provider. Empty: the offline summarizer.")
    openai_base_url: str = Field("https://api.openai.com/v1", description="Any OpenAI-compatible address.")
    summary_model: str = Field("gpt-4.1-mini", description="Default model.")
    summary_bulk_model: str = Field(
        "",
        description="Default model of bulk items. Empty: that of single calls, so that both share a cache.",
    )
    summary_models: tuple[str, ...] = Field((), description="Further models that a request may name.")
    llm_prices: dict[str, ModelPrice] = Field(
        default_factory=dict,
        description="JSON: model -> US dollars per 1M tokens: `input`, `output`, `cached_input`, `cache_write`; "
        "`batch_factor` (0.5) is the share of it that an answer in a batch costs.",
    )
    llm_windows: dict[str, int] = Field(
        default_factory=lambda: {
            "gpt-4.1-mini": 1_047_576,
            "gpt-4.1": 1_047_576,
            "gpt-4o-mini": 128_000,
            "gpt-4o": 128_000,
        },
        description="JSON: model -> context window in tokens. A model not named takes the smallest.",
    )
    llm_profile: Literal["openai", "compatible", "json_object"] = Field(
        "openai", description="Which optional request fields the provider takes."
    )
    llm_connect_timeout_s: Seconds = Field(5, description="Time to connect to the provider.")
    llm_attempt_timeout_s: Seconds = Field(60, description="Time of one request to the provider.")
    llm_deadline_s: Seconds = Field(120, description="Time of all attempts together.")
    llm_max_attempts: int = Field(4, ge=1, description="Requests to the provider for one summary.")
    llm_recoverable: bool = Field(
        False,
        description="Ask at `/v1/responses` in the background: a call outlives its worker and is not paid for "
        "twice. The provider then keeps request and answer for a time of its own.",
    )
    llm_rpm: int = Field(0, ge=0, description="Requests a minute, all projects. 0: no limit of ours.")
    llm_tpm: int = Field(0, ge=0, description="Tokens a minute, all projects. 0: no limit of ours.")
    llm_project_rpm: int = Field(
        0, ge=0, description="Requests a minute of one project. 0: no limit of ours."
    )
    llm_max_inflight: int = Field(
        0, ge=0, description="Requests in flight, all workers. 0: no limit of ours."
    )
    llm_spend_cap_usd: float = Field(
        0, ge=0, description="Largest spend in a UTC day, all projects. 0: no cap."
    )
    max_input_tokens: int = Field(
        0, ge=0, description="Cap on the input of an on-demand summary. 0: the window decides."
    )
    bulk_max_input_tokens: int = Field(
        60_000, ge=0, description="Cap on the input of a bulk item's summary. 0: the window decides."
    )
    breaker_failures: int = Field(10, ge=1, description="Failures in a row that open the circuit breaker.")
    breaker_open_s: Seconds = Field(30, description="First pause of the open breaker; doubles up to 300 s.")
    lease_s: Seconds = Field(30, description="Life of a single-flight lease.")
    summary_cache_url: str = Field(
        "", description="Redis for the summary cache. Empty: the same as REDIS_URL."
    )
    summary_cache_ttl_s: Seconds = Field(86_400, description="Life of a cached summary.")
    summary_cache_skip_s: Seconds = Field(5, description="Pause after three cache faults in a row.")
    summary_cache_timeout_s: Seconds = Field(0.1, description="Time limit of one cache operation.")
    early_refresh_beta: float = Field(0, ge=0, description="Probabilistic early refresh; 0 is off.")
    text_cache_ttl_s: Seconds = Field(3600, description="Life of a cached text representation.")
    ai_data_processing_approved: bool = Field(True, description="Off: no summaries for any project.")

    # integrations
    encryption_keys: tuple[str, ...] = Field(
        (),
        repr=False,
        description="Keys that seal stored secrets, 32 bytes in url-safe base64. The first seals, all open. "
        "Empty: the key that `tracegist up` made in the data folder; without that nothing starts.",
    )
    redirect_origins: tuple[str, ...] = Field(
        (),
        description="Origins, such as `https://app.example.com`, that `next` of a connect flow may lead to.",
    )
    twilio_base_url: str = Field("https://api.twilio.com", description="Address of the Twilio API.")
    oauth: dict[str, OAuthOptions] = Field(
        default_factory=dict,
        repr=False,
        description="What the environment says of each OAuth provider, by kind; see `config/providers.py`.",
    )

    @field_validator(
        "allowed_hosts",
        "trusted_proxies",
        "cors_origins",
        "summary_models",
        "encryption_keys",
        "redirect_origins",
        *RATE_SETTINGS,
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("encryption_keys")
    @classmethod
    def _fernet_keys(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_is_fernet_key(key) for key in value):
            raise ValueError("each key must be 32 bytes in url-safe base64")
        return value

    @field_validator("redirect_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_is_origin(origin) for origin in value):
            raise ValueError("each must be an origin such as https://app.example.com")
        return tuple(origin.lower() for origin in value)

    @field_validator("twilio_base_url")
    @classmethod
    def _http_address(cls, value: str) -> str:
        if not _is_address(value, ("http", "https")) or not urlsplit(value).hostname:
            raise ValueError("an address such as https://api.twilio.com is required")
        return value.rstrip("/")

    @field_validator(*RATE_SETTINGS)
    @classmethod
    def _rates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_rates(value)
        return value

    @field_validator("redis_url", "summary_cache_url")
    @classmethod
    def _redis_address(cls, value: str) -> str:
        if value and not _is_address(value, ("redis", "rediss", "unix")):
            raise ValueError("an address such as redis://host:6379/0 is required")
        return value

    @field_validator("database_url")
    @classmethod
    def _database_address(cls, value: str) -> str:
        if value and not _is_address(value, ("postgresql", "postgres", "sqlite")):
            raise ValueError("an address such as postgresql://user@host:5432/name is required")
        return value

    @field_validator("clickhouse_url")
    @classmethod
    def _clickhouse_address(cls, value: str) -> str:
        if value and not _is_address(value, ("http", "https", "chdb")):
            raise ValueError("an address such as http://user:password@host:8123/database is required")
        return value

    @model_validator(mode="after")
    def _windows_known(self) -> Settings:
        if not self.llm_windows:
            raise ValueError("LLM_WINDOWS must name at least one model")
        return self

    @property
    def effective_broker_url(self) -> str:
        return self.broker_url or self.redis_url

    @property
    def effective_cache_url(self) -> str:
        return self.summary_cache_url or self.redis_url

    @property
    def effective_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'tracegist.db'}"

    @property
    def effective_clickhouse_url(self) -> str:
        return self.clickhouse_url or f"chdb://{self.data_dir.resolve() / 'logs'}"

    @property
    def default_model(self) -> str:
        """The model of a request that names none; the offline summarizer when there is no key."""
        return self.summary_model if self.openai_api_key else "extractive"

    @property
    def default_bulk_model(self) -> str:
        """The same for an item of a bulk job."""
        return (self.summary_bulk_model or self.summary_model) if self.openai_api_key else "extractive"


def _is_address(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme.partition("+")[0] in schemes and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _is_origin(value: str) -> bool:
    parts = urlsplit(value)
    return (
        _is_address(value, ("http", "https"))
        and bool(parts.hostname)
        and f"{parts.scheme}://{parts.netloc}" == value
    )


def _is_fernet_key(key: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(key.encode("ascii"))) == 32
    except (UnicodeEncodeError, binascii.Error):
        return False


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return name.upper() if name in WELL_KNOWN else f"TRACEGIST_{name.upper()}"


def oauth_variable(kind: str, option: str) -> str:
    """The environment variable of one option of an OAuth provider."""
    return f"TRACEGIST_{kind.upper().replace('-', '_')}_{option.upper()}"


def variables() -> Iterator[str]:
    """Every variable that is read, without the `_FILE` forms."""
    yield from (variable_of(name) for name in Settings.model_fields if name != "oauth")
    for kind in KINDS:
        yield from (oauth_variable(kind, option) for option in OAuthOptions.model_fields)


def load_settings(environ: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """Read the settings from `environ` (default: the process environment).

    Raises:
        SettingsError: a value has the wrong form, or a `_FILE` cannot be read.
    """
    source = os.environ if environ is None else environ
    values: dict[str, object] = {}
    for name in Settings.model_fields:
        if name == "oauth":
            values[name] = _oauth_options(source)
        elif (text := _lookup(source, variable_of(name))) is not None:
            values[name] = text
    values.update(overrides)
    try:
        return Settings.model_validate({name: _parsed(name, value) for name, value in values.items()})
    except ValidationError as error:
        first = error.errors()[0]
        place = [str(part) for part in first["loc"]] or ["llm_windows"]
        variable = oauth_variable(*place[1:3]) if place[0] == "oauth" else variable_of(place[0])
        raise SettingsError(f"{variable}: {first['msg']}") from None


def _oauth_options(source: Mapping[str, str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for kind in KINDS:
        for option in OAuthOptions.model_fields:
            if (text := _lookup(source, oauth_variable(kind, option))) is not None:
                found.setdefault(kind, {})[option] = text
    return found


def _lookup(source: Mapping[str, str], variable: str) -> str | None:
    if value := source.get(variable):
        return value
    if path := source.get(f"{variable}_FILE"):
        try:
            return Path(path).read_text().strip() or None
        except OSError as error:
            raise SettingsError(f"{variable}_FILE: the file cannot be read") from error
    return None


def _parsed(name: str, value: object) -> object:
    """JSON text for the settings that are tables; everything else as it is."""
    if name not in ("llm_prices", "llm_windows") or not isinstance(value, str):
        return value
    from pydantic_core import from_json

    try:
        return from_json(value)
    except ValueError as error:
        raise SettingsError(f"{variable_of(name)}: not JSON") from error
