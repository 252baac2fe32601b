"""Put the OpenAPI document together: routes, shared shapes, and what all operations have in common."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api_shim.documents.bulk import ROW
from api_shim.documents.integrations import INTEGRATION, PHONE_NUMBERS
from api_shim.documents.jobs import JOB
from api_shim.documents.logs import LOG
from api_shim.documents.max_tools import INSIGHT_QUERY
from api_shim.documents.parts import ANYWHERE, ERROR, Schema, errors, scopes_line
from api_shim.documents.persisted_folders import FOLDER
from api_shim.documents.projects import PROJECT
from api_shim.documents.schedules import SCHEDULE
from api_shim.documents.webhooks import DELIVERY, WEBHOOK

COMPONENTS = {
    "BulkRow": ROW,
    "Error": ERROR,
    "Job": JOB,
    "Folder": FOLDER,
    "Project": PROJECT,
    "Log": LOG,
    "Integration": INTEGRATION,
    "PhoneNumbers": PHONE_NUMBERS,
    "InsightQuery": INSIGHT_QUERY,
    "Webhook": WEBHOOK,
    "Delivery": DELIVERY,
    "Schedule": SCHEDULE,
}

# The capabilities in the order of a reader; a route's tag is its capability.
TAGS = (
    {"name": "llm_analytics", "description": "Text and summaries"},
    {"name": "max_tools", "description": "Insight"},
    {"name": "logs", "description": "Logs"},
    {"name": "jobs", "description": "Jobs"},
    {"name": "webhooks", "description": "Webhooks"},
    {"name": "schedules", "description": "Schedules"},
    {"name": "persisted_folder", "description": "Folders"},
    {"name": "integrations", "description": "Integrations"},
    {"name": "projects", "description": "Projects"},
    {"name": "operations", "description": "Operations"},
)


def install_openapi(app: FastAPI) -> None:
    """The document at `/openapi.json`: every route under its documented address."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            made["tags"] = list(TAGS)
            components = made.setdefault("components", {})
            components["schemas"] = COMPONENTS
            components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            for path, operations in made["paths"].items():
                for operation in operations.values():
                    _finish(path, operation)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _finish(path: str, operation: Schema) -> None:
    responses = operation["responses"]
    # The framework adds a 422 of its own to every route with a path parameter; ours never sends that one.
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]
    if "{project_id}" in path:
        project: Schema = {"name": "project_id", "in": "path", "required": True}
        project["schema"] = {"type": "integer", "minimum": 1}
        operation["parameters"] = [project, *operation.get("parameters", [])]
    if path.startswith("/api/"):
        operation["responses"] = dict(sorted({**errors(*ANYWHERE), **responses}.items()))
        operation["security"] = [{"key": []}]
        scopes = operation.get("x-scopes", [])
        operation["description"] = f"{operation.get('description', '')}\n\n{scopes_line(*scopes)}".strip()
