"""Literals as source text, many of which are equal for Python and are not the same."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from .programs import Draw

ALIKE = ("1", "True", "1.0", "0", "False", "0.0", "-0.0", "None", "''", "[]", "{}")
JSON = (*ALIKE, "-1", "'word'", "'\\u2028\\x00'", "10**30", "-(2**63)", "2**53 + 1", "5e-324", "0.1", "1e16")
PICKLE = (
    *JSON,
    *("()", "(1,)", "(True,)", "(1.0,)", "[()]", "b''", "b'\\xff'", "bytearray(b'a')", "set()", "{1}", "{True}"),
    *("frozenset({0.0})", "frozenset({-0.0})", "float('nan')", "float('inf')", "1 + 0j", "-0.0j", "10**5000"),
    *("'\\ud800'", "Color.RED", "Level.LOW", "Point(1, True)", "Text('word')", "Whole(1)", "OrderedDict(b=1, a=2)"),
    *("{1: 'a', None: 0.0, (1,): -0.0}", "{True: 1}", "{1: True}", "{-0.0: 0}", "defaultdict(list, a=[1])"),
    *("deque([1, True], 3)", "Box(1)", "Box(True)", "Box(-0.0)", "Mark(v=1)", "Mark(v=[2])", "Slot(0.0)", "range(3)"),
    *("int", "len", "...", "ValueError"),
)
REFUSED_BY_JSON = (
    *("float('nan')", "-float('inf')", "b'x'", "{1: 2}", "{1}", "'\\ud800'", "Color.RED", "Level.LOW", "Text('x')"),
    *("10**5000", "Box(1)", "Whole(1)", "OrderedDict(a=1)", "int", "range(2)", "1j", "..."),
)


@dataclass(frozen=True)
class Literals:
    """What may be written; whether all of it can be carried, and as what it is."""

    serializer: str
    atoms: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        """Whether tuples stay what they are, and objects can be carried."""
        return self.serializer == "AsPickle()"

    def draw(self, draw: Draw, depth: int = 2) -> str:
        """Any literal."""
        kind = draw(st.integers(0, 9))
        if kind < 6 or not depth:
            return str(draw(st.sampled_from(ALIKE if kind < 3 else self.atoms)))
        return self.container(draw, [self.draw(draw, depth - 1) for _ in range(draw(st.integers(0, 3)))])

    def container(self, draw: Draw, parts: list[str]) -> str:
        """A container of `parts`."""
        kinds = ("list", "dict", "keys", "tuple") if self.is_exact else ("list", "dict")
        kind = draw(st.sampled_from(kinds))
        if kind == "list":
            return f"[{', '.join(parts)}]"
        if kind == "tuple":
            return f"({''.join(f'{part}, ' for part in parts)})"
        keys = ("'b'", "'a'", "'c'") if kind == "dict" else ("1", "0.0", "()")
        return f"{{{', '.join(f'{key}: {part}' for key, part in zip(keys, parts, strict=False))}}}"


BY_JSON = Literals("AsJSON()", JSON)
BY_PICKLE = Literals("AsPickle()", PICKLE)
