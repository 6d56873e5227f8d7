"""The modules of the end-to-end tests' user are this folder's, too."""

from __future__ import annotations

import sys

from .installation import USERLAND

sys.path.insert(0, str(USERLAND))
