"""Events and traces as text, byte for byte as the text representation API prints them.

Pure: values in, text out. Numbered lines and line sampling are offered to others as well.
"""

from workers.text_repr.document import number_lines
from workers.text_repr.options import Options
from workers.text_repr.rendering import RENDERER_VERSION, Rendering, render
from workers.text_repr.sampling import HEADER_LINES, NOTE_POSITION, sampled_note, uniform_indices

__all__ = [
    "HEADER_LINES",
    "NOTE_POSITION",
    "RENDERER_VERSION",
    "Options",
    "Rendering",
    "number_lines",
    "render",
    "sampled_note",
    "uniform_indices",
]
