"""Where the modules of users are looked for: in the working directory too, whichever program this is."""

from __future__ import annotations

import os
import sys


def search_here() -> None:
    """Look for modules in the working directory, as `python -m` does and installed scripts do not."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
