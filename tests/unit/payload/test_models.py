"""Dataclasses and pydantic models travel in JSON where an annotation names their class, exactly, or are refused."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import enum
import functools
import json
import subprocess
import sys
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Generic, NamedTuple, Optional, TypeVar

import pydantic
import pytest

from checkout import ROOT
from dagcelery import AsPickle, Cache, dag, task
from dagcelery.errors import DeserializationError, FunctionNotAllowed, NodeFailed, SerializationError
from dagcelery.payload import codecs
from dagcelery.payload.models import AsModels, named_by
from dagcelery.payload.signing import Keyring
from dagcelery.planner.compile import plan
from dagcelery.planner.encoding import decode_plan, encode_plan
from dagcelery.store.cache import OF_THIS_PROCESS

T = TypeVar("T")


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    sku: str
    price: Decimal
    at: tuple[int, ...] = ()


@dataclasses.dataclass
class Order:
    items: list[Item]
    when: datetime.datetime
    color: Color = Color.RED
    note: Optional[str] = None  # noqa: UP045
    number: int = dataclasses.field(default=0, init=False)
    start: dataclasses.InitVar[int] = 5

    def __post_init__(self, start: int) -> None:
        self.number += start


@dataclasses.dataclass
class Node:
    value: Any
    next: Node | None = None


class Special(Item):
    pass


class Receipt(pydantic.BaseModel):
    order: Order
    total: Decimal
    lines: dict[str, tuple[int, int]] = {}
    above: Receipt | None = None
    _secret: int = pydantic.PrivateAttr(default=1)


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    name: str = pydantic.Field(alias="Name")

    @pydantic.field_validator("name")
    @classmethod
    def _marked(cls, value: str) -> str:
        return value + "!"  # a second validation would add a second mark


class Web(pydantic.BaseModel):
    url: pydantic.HttpUrl
    tags: set[str] = set()


class Box(pydantic.BaseModel, Generic[T]):
    content: T


class Secret(pydantic.BaseModel):
    password: pydantic.SecretStr


class Pair(NamedTuple):
    a: int
    b: int


@pydantic.dataclasses.dataclass
class Checked:
    x: int


def order(n: int = 2) -> Order:
    made = Order([Item("a", Decimal("1.10"), (1, 2)) for _ in range(n)], datetime.datetime(2024, 1, 1), note="n")
    made.number = 7
    return made


def receipt() -> Receipt:
    inner = Receipt(order=order(0), total=Decimal("0.00"))
    made = Receipt(order=order(), total=Decimal("2.20"), lines={"a": (1, 2)}, above=inner)
    made._secret = 9
    return made


MADE: dict[str, tuple[Any, Any]] = {
    "a dataclass": (order(), Order),
    "a frozen one with slots": (Item("b", Decimal("2.50"), (3,)), Item),
    "a list": ([order(), order(0)], list[Order]),
    "a dict": ({"a": order(), "b": None}, dict[str, Order | None]),
    "none of an optional": (None, Optional[Order]),  # noqa: UP045
    "one of an optional": (order(), Order | None),
    "annotated": (order(), Annotated[Order, "anything"]),
    "a union of two": ([Item("a", Decimal(1)), order(0)], list[Item | Order]),
    "a forward reference": (Node(1, Node([2], None)), "Node"),
    "a model": (receipt(), Receipt),
    "models in a dict of lists": ({"a": [receipt()]}, dict[str, list[Receipt]]),
    "a model of which a validator changes things": (Strict(Name="x", more=[1]), Strict),
    "a model of what only pydantic writes": (Web(url="https://a.b/c", tags={"x"}), Web),
    "a generic model": (Box[int](content=1), Box[int]),
    "a dataclass of pydantic": (Checked(1), Checked),
    "a plain dict": ({"sku": "a", "price": 1}, Item),
    "a plain list": ([{"sku": "a"}, 1, "x"], list[Item]),
    "a dict like ours": ({"dagcelery.value": ["model", "a:b", {}]}, Item),
    "a dict like ours within": (Node({"dagcelery.value": ["model", "a:b", {}]}), Node),
}


def returning(hint: Any, value: Any = None) -> Any:
    def give(x: Any = None) -> Any:
        return value

    give.__annotations__ = {"return": hint}
    return give


def codec_of(hint: Any) -> codecs.Codec:
    return codecs.codec_for(AsModels.of(named_by(returning(hint), "return")))


def told(value: Any) -> Any:
    return type(value), repr(value), getattr(value, "__pydantic_private__", None), getattr(value, "__dict__", None)


@pytest.mark.parametrize("kind", MADE)
def test_a_value_comes_back_exactly(kind: str) -> None:
    value, hint = MADE[kind]
    codec = codec_of(hint)
    back = codec.load(codec.dump(value))
    assert told(back) == told(value)
    assert back == value
    assert codec.load_many(codec.dump_many([value, 1]), 2) == [value, 1]
    if isinstance(value, pydantic.BaseModel):
        assert back.model_fields_set == value.model_fields_set
        assert back.model_extra == value.model_extra


class Kept(dict[str, int]):
    pass


@dataclasses.dataclass
class DictLike(dict[str, int]):
    x: int = 1


@dataclasses.dataclass
class Pickled:
    x: int

    def __getstate__(self) -> Any:
        return {"x": 0}


@dataclasses.dataclass
class Caching:
    x: int

    @functools.cached_property
    def twice(self) -> int:
        return 2 * self.x


def with_extra() -> Order:
    made = order(0)
    made.extra = 1  # type: ignore[attr-defined]
    return made


def without_field() -> Node:
    made = Node(1)
    del made.value
    return made


REFUSED: dict[str, tuple[Any, Any, str]] = {
    "a subclass": (Special("a", Decimal(1)), Item, r": is of type .*Special, which JSON does not have"),
    "a subclass within": ([Node(Special("a", Decimal(1)))], list[Node | Item], r"at \[0\].value: is of type .*Special"),
    "an attribute beside the fields": (with_extra(), Order, r": is of type .*Order"),
    "a field that is not there": (without_field(), Node, r": is of type .*Node"),
    "a class that is not named": ([order()], list[Any], r"at \[0\]: is of type .*Order"),
    "a class that is not named, in a field": (Node(Checked(1)), Node, r"at .value: is of type .*Checked"),
    "a set in a field": (Node({1}), Node, "at .value: is of type set"),
    "a key that is not a str": (Node({1: 2}), Node, "at .value: has the key 1 of type int"),
    "a NaN in a field": (Node([float("nan")]), Node, r"at .value\[0\]: is nan"),
    "an int of too many digits": (Node([10**5000]), Node, r"at .value\[0\]: is an int of about 5,001 digits"),
    "a secret": (Secret(password="x"), Secret, r"\['password'\]: is of type .*SecretStr"),  # type: ignore[arg-type]
    "a named tuple": (Pair(1, 2), Pair, "is a named tuple"),
    "an enum alone": (Color.RED, Color, "is the enum member"),
    "a dataclass that is a dict": (DictLike(), DictLike, "would come back as a plain dict"),
    "a class with a state of its own": (Pickled(1), Pickled, r": is of type .*Pickled"),
    "a subclass of dict": (Kept(), Kept, "would come back as a plain dict"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_would_come_back_changed_is_refused_with_its_path(kind: str) -> None:
    value, hint, match = REFUSED[kind]
    with pytest.raises(SerializationError, match=match):
        codec_of(hint).dump(value)


def test_a_circle_is_refused() -> None:
    node = Node(1)
    node.next = node
    with pytest.raises(SerializationError, match="contains itself"):
        codec_of(Node).dump(node)


def test_what_a_class_caches_is_left_out() -> None:
    made = Caching(2)
    assert made.twice == 4
    codec = codec_of(Caching)
    assert vars(codec.load(codec.dump(made))) == {"x": 2}


def test_a_default_dict_and_a_counter_are_still_refused() -> None:
    for value in (collections.Counter("a"), collections.defaultdict(int)):
        with pytest.raises(SerializationError, match="would come back as a plain dict"):
            codec_of(Node).dump(Node(value))


def test_a_class_with_other_fields_here_is_named() -> None:
    codec = codec_of(Node)
    data = json.loads(codec.dump(Node(1)))
    data["dagcelery.value"][2]["old"] = 1
    with pytest.raises(DeserializationError, match=r"with the fields \['next', 'old', 'value'\], and here it has"):
        codec.load(json.dumps(data).encode())


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "test_models:Order", "builtins:dict"])
def test_data_cannot_name_a_class_that_no_annotation_names(name: str) -> None:
    for kind in ("model", "enum", "validated"):
        data = json.dumps({"dagcelery.value": [kind, name, {}]}).encode()
        for codec in (codec_of(Node), codecs.codec_for(codecs.AsJSON())):
            with pytest.raises(DeserializationError, match="which no annotation names here"):
                codec.load(data)


# -- in DAGs ------------------------------------------------------------------------------------
@task
def make(n: int) -> Order:
    return order(n)


@task
def bill(o: Order) -> Receipt:
    return Receipt(order=o, total=sum((item.price for item in o.items), Decimal(0)))


@task
def seen(x: Any) -> str:
    return repr(x)


@task
def shown(x) -> str:  # type: ignore[no-untyped-def]
    return repr(x)


@task
def all_items(os: Iterable[Order]) -> list[Item]:
    return [item for o in os for item in o.items]


@task
def plain() -> Order:
    return {"items": []}  # type: ignore[return-value]


@task
def special() -> Item:
    return Special("a", Decimal(1))


@dag
def shop(n: int) -> Any:
    o = make(n)
    return {"order": o, "receipt": bill(o), "seen": [seen(o), shown(o), seen(bill(o))]}


@dag
def many(os: list[Order]) -> Any:
    rs = [bill(o) for o in os]
    return [rs, [seen(r) for r in rs], seen(rs), all_items(os), [seen(item) for item in all_items(os)]]


@dag
def inner(o: Order) -> Any:
    return [bill(o), seen(o)]


@dag
def outer(o: Any, os: Any) -> Any:
    return [inner(o), [inner(one) for one in os], seen([o, o])]


def test_whoever_reads_a_value_gets_the_object_annotated_or_not() -> None:
    assert repr(shop.invoke(n=1)) == repr(shop(n=1))


def test_items_and_results_of_a_fan_out_are_objects() -> None:
    os = [order(1), order(2)]
    assert repr(many.invoke(os=os)) == repr(many(os=os))


def test_parameters_are_named_by_the_tasks_that_take_them_however_deep() -> None:
    given = {"o": order(1), "os": [order(0), order(2)]}
    assert repr(outer.invoke(**given)) == repr(outer(**given))


def test_a_task_alone_takes_and_gives_them() -> None:
    assert bill.invoke(order()) == bill(order())
    assert plain.invoke() == {"items": []}
    with pytest.raises(NodeFailed, match=r"Special, which JSON does not have.*AsPickle"):
        special.invoke()


def test_a_parameter_that_nobody_annotates_is_refused() -> None:
    with pytest.raises(SerializationError, match=r"parameter 'x': is of type .*Order.*name its very class"):
        seen.invoke(order())


def test_a_dag_with_another_serializer_keeps_it() -> None:
    @dag(serializer=AsPickle())
    def pickled(x: Any) -> Any:
        return [special(), bill(x)]

    found = pickled.invoke(x=order())
    assert type(found[0]) is Special


CALLS: list[int] = []


@task(cache=Cache(ttl=60))
def billed(o: Order) -> Receipt:
    CALLS.append(1)
    return receipt()


def test_a_cached_result_is_the_object(monkeypatch: pytest.MonkeyPatch) -> None:
    OF_THIS_PROCESS.clear()
    CALLS.clear()
    assert [billed.invoke(order()), billed.invoke(order())] == [receipt(), receipt()]
    assert CALLS == [1]


# -- in plans -----------------------------------------------------------------------------------
def codecs_elsewhere(node: Any, imports: list[str]) -> list[codecs.Codec]:
    """The codecs of a plan that was encoded without a key, as a worker has them."""
    decoded = decode_plan(encode_plan(plan(node.__dag__()), signed=False))
    return [codecs.from_spec(spec, Keyring.parse(""), imports) for spec in decoded.codecs]


def test_a_plan_names_functions_and_no_class_and_needs_no_key() -> None:
    text = encode_plan(plan(shop.__dag__()), signed=False)
    assert b"Receipt" not in text
    assert b"Order" not in text
    data = codec_of(Order).dump(order())
    found = codecs_elsewhere(shop, [__name__])
    assert any(_reads(codec, data) == order() for codec in found)


def _reads(codec: codecs.Codec, data: bytes) -> Any:
    try:
        return codec.load(data)
    except DeserializationError:
        return None


def test_modules_that_are_not_allowed_are_not_looked_at() -> None:
    codec = codecs_elsewhere(bill, ["another"])[1]
    with pytest.raises(FunctionNotAllowed):
        codec.load(codec_of(Order).dump(order()))


def test_annotations_that_are_evaluated_late_name_classes_too(tmp_path: Path) -> None:
    row = "Row" if sys.version_info >= (3, 14) else "'Row'"
    program = tmp_path / "late.py"
    program.write_text(
        dedent(f"""
            import dataclasses
            from typing import TYPE_CHECKING
            from dagcelery import task
            if TYPE_CHECKING:
                from nowhere import Row
            @dataclasses.dataclass
            class Part: n: int
            @dataclasses.dataclass
            class Order: parts: list[Part]
            @task
            def checked(order: Order, row: {row} = None) -> Order:
                assert type(order.parts[0]) is Part
                return order
            assert checked.invoke(Order([Part(1)])) == Order([Part(1)])
        """)
    )
    subprocess.run([sys.executable, str(program)], check=True, cwd=ROOT)


def test_a_process_that_has_no_models_does_not_import_pydantic() -> None:
    code = dedent("""
        import dataclasses, sys
        from dagcelery import task
        @dataclasses.dataclass
        class A: x: int
        @task
        def f(a: A) -> A: return a
        assert f.invoke(A(1)) == A(1)
        assert "pydantic" not in sys.modules
    """)
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
