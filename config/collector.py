"""The garbage collector of a process that serves: it looks at what requests leave, not at imports."""

from __future__ import annotations

import gc

# A request makes some thousands of objects, and nearly all of them are gone by reference count when it ends.
# With Python's 700 the collector runs several times for each of them: a tenth of a bulk worker's time.
THRESHOLDS = (10_000, 20, 20)


def spare_imports() -> None:
    """Call it once, when all is imported and opened: what lives now lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
