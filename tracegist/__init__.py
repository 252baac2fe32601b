"""The face: what a person types or imports."""
