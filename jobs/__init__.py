"""The contract that the shim and the workers both sign: kinds, states, records, request and result models."""
