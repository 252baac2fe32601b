"""Traces as other tools export them, turned into the bodies of summary requests.

`reading.py` finds out what a file holds; one module a format turns its records into `Node`s, and `tree.py`
makes a trace of those.
"""
