"""What the OpenAPI document says of each capability's routes; `api_shim/openapi.py` puts it together."""
