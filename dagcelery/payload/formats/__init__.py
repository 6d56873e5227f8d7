"""Serializers beyond JSON and pickle, each in a module that imports the library it needs when it is first used.

Each has a `kind`, by which plans name it, and is a frozen dataclass whose fields are data: so no plan needs a pickle
for it. `UNSAFE` are the kinds that run code when they read, and therefore read nothing that is not signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from dagcelery.payload.formats.arrow import AsArrow, AsParquet
from dagcelery.payload.formats.csv import AsCSV
from dagcelery.payload.formats.dill import AsDill
from dagcelery.payload.formats.message_pack import AsMessagePack

OF_KIND: Final[Mapping[str, type[Any]]] = {
    kind.kind: kind for kind in (AsArrow, AsCSV, AsDill, AsMessagePack, AsParquet)
}
UNSAFE: Final = frozenset({AsDill.kind})

__all__ = ["OF_KIND", "UNSAFE", "AsArrow", "AsCSV", "AsDill", "AsMessagePack", "AsParquet"]
