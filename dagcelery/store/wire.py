"""How the verbs' requests and answers look on the wire: JSON headers, bytes beside them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Final, NamedTuple, TypeVar

from dagcelery.bounded import put
from dagcelery.store.records import (
    CHUNK_BYTES,
    CLOSE,
    RETURNS_A_DEATH,
    ROOT,
    START,
    SUCCESSORS,
    Block,
    Claim,
    ClaimRequest,
    Completed,
    Counts,
    Event,
    Lost,
    NewRun,
    Outstanding,
    PieceId,
    ReadyStep,
    Refusal,
    Response,
    RunRecord,
    Scope,
    Spot,
    StepEntry,
    TaskResult,
)

T = TypeVar("T")

_decode = json.JSONDecoder().decode
STAGED = b"@"
"""First byte of a value that is kept in chunks under the key named after it; sealed bytes never begin with it."""
FIELDS_A_SCRIPT = 500
_ROOT = Scope(ROOT)
_SKIPPED = "x"
"""The cursor of a claim whose piece was skipped with its scope."""
_PLANS_A_READ = 50
MESSAGE_CHARACTERS = 8
FEW = 100
"""Values, or blocks, that travel with a request."""
_FEW = 16
LETTERS: Final = {
    "queue": "q",
    "over": "x",
    "waits": "n",
    "item_waits": "e",
    "body": "b",
    "item_successors": "se",
    "retry": "r",
    "hard_limit": "tl",
    "start_within": "sw",
    "min_success": "ms",
    "is_branch": "br",
    "function": "f",
    "is_alone": "al",
    "awaits": "aw",
    "reads": "rd",
    "is_returned": "rt",
    "keeps_outputs_only": "kp",
}
"""By which letters a topology keeps the fields of a `StepEntry`, all but the first four only where they say something.

A step is read by each script that commits, opens or claims it, so that its entry has to be small: few successors are in
it as ``s``, and as ``w`` how many steps each waits for, else ``more`` counts the portions that follow the first one.
Inputs are in it as ``i``, a text or 1 for one apart. START also has ``c``, the number of steps. Nothing else spells
these letters but the scripts.
"""
_ALWAYS: Final = {"queue", "over", "waits", "item_waits"}
_UNSAID: Final = {each.name: each.default for each in fields(StepEntry) if each.name in LETTERS.keys() - _ALWAYS}
_FIELDS: Final = {letter: name for name, letter in LETTERS.items()}


_laid_out: dict[int, tuple[Mapping[int, StepEntry], list[tuple[str, bytes]]]] = {}

_KEPT_BODIES, _KEPT_STEPS = 128, 100


# -- requests ------------------------------------------------------------------------------------
def piece(claim: Claim) -> dict[str, Any]:
    """Name the piece and the attempt that a worker speaks of."""
    return {
        "scope": claim.scope.id,
        "step": claim.step,
        "lo": claim.lo,
        "hi": claim.hi,
        "attempt": claim.attempt,
    }


def new_run(run: NewRun) -> dict[str, Any]:
    """Say what the record says of a run at first."""
    start, close = run.topology[0][START], run.topology[0][CLOSE]
    options = {
        "outlives": None if start.fail_fast else 1,
        "hooks": close.queue if start.has_hooks or run.trace else None,
        "held": run.held,
        "reservation": run.reservation,
        "fingerprint": run.fingerprint,
        "shown": json.dumps(dict(run.shown)) if run.shown else None,
        "trace": run.trace,
    }
    return {
        "name": run.name,
        "ttl": run.ttl_seconds,
        "queues": sorted({entry.queue for body in run.topology for entry in body.values()}),
        "lists": dict(run.lists),
        "deadline": run.deadline_seconds,
        "bodies": len(run.topology),
    } | {name: value for name, value in options.items() if value}


def claim_request(request: ClaimRequest | None) -> dict[str, Any] | None:
    """Say what a worker would claim next; leave out what is empty."""
    if request is None:
        return None
    about: dict[str, Any] = {"queue": request.queue, "owner": request.owner, "message": request.message}
    about["slots"] = max(1, request.slots)
    if request.focus:
        about["focus"] = request.focus
    if request.only:
        about["only"] = True
    if request.ranges:
        about["ranges"] = dict(request.ranges)
    if request.short:
        about["short"] = dict(request.short)
    if request.arrived:
        about["arrived"] = True
    if request.tells:
        about["tells"] = True
    if request.beside:
        about["beside"] = request.beside
    if request.has_others:
        about["others"] = True
    if request.keep_seconds:
        about["keep"] = request.keep_seconds
    return about


def block_names(blocks: Iterable[Block]) -> list[tuple[str, int, int, int]]:
    """Name blocks whose bytes come along."""
    return [(block.token, block.lo, block.hi, block.attempt) for block in blocks]


def result(claim: Claim, result: TaskResult) -> dict[str, Any]:
    """Say what came of a piece, but for the bytes; leave out what is empty."""
    about: dict[str, Any] = {"step": claim.step, "started": result.started, "seconds": result.seconds}
    if claim.scope.id != ROOT:
        about["scope"] = claim.scope.id
    if claim.attempt != 1:
        about["attempt"] = claim.attempt
    if claim.follows:
        about["follows"] = True
    if claim.lo >= 0:
        about["lo"], about["hi"], about["done"] = claim.lo, claim.hi, result.done
    if result.lists:
        about["lists"] = dict(result.lists)
    if result.cached:
        about["cached"] = result.cached
    if result.log:
        about["log"] = True
    if result.failure is not None:
        about["failed"], about["retry"] = True, result.retryable
        about["markers"] = [(scope, block_names(blocks)) for scope, blocks in result.markers.items()]
    return about


def laid_out(body: Mapping[int, StepEntry]) -> Iterable[tuple[str, bytes]]:
    """Return `topology_fields` of a body; those of a small one are laid out once for all runs of a plan."""
    kept = _laid_out.get(id(body))
    if kept is None or kept[0] is not body:
        fields = topology_fields(body)
        if len(body) > _KEPT_STEPS:
            return fields
        kept = put(_laid_out, id(body), (body, list(fields)), _KEPT_BODIES)
    return kept[1]


def topology_fields(body: Mapping[int, StepEntry]) -> Iterator[tuple[str, bytes]]:
    """Lay out a body's topology so that an arrival reads a small entry, however wide the step is.

    More than a few successors are kept in portions of their own; so are inputs, unless there are so many that no claim
    can carry them.
    """
    steps = sum(1 for step in body if step >= 0)
    for step, entry in body.items():
        small = {LETTERS[name]: getattr(entry, name) for name in _ALWAYS}
        for name, unsaid in _UNSAID.items():
            if (value := getattr(entry, name)) not in (unsaid, []):
                small[LETTERS[name]] = value
        announced = list(portions(entry.successors, SUCCESSORS))
        if len(announced) > 1:
            small["more"] = len(announced) - 1
        if len(entry.successors) <= _FEW:
            small["s"], announced = entry.successors, []
            needs = [_need(body.get(successor), entry.queue) for successor in entry.successors]
            if any(needs):
                small["w"] = needs
        count = len(entry.inputs) + len(entry.item_inputs)
        if 0 < count <= FIELDS_A_SCRIPT:
            inputs = _text([entry.inputs, entry.item_inputs])
            small["i"] = inputs.decode() if count <= _FEW else 1
            if count > _FEW:
                yield f"{step}:i", inputs
        if step == START:
            small["c"] = steps
        yield str(step), _text(small)
        for number, portion in enumerate(announced):
            yield f"{step}:{number}", _text(portion)


def _need(step: StepEntry | None, queue: str) -> int:
    """Say how many steps a step waits for, if the script that tells it needs to know no more; 0 if it has to look."""
    if step is None:
        return 0
    is_plain = not step.over and not step.item_waits and step.start_within is None and step.queue == queue
    return max(1, step.waits) if is_plain else 0


def portions_apart(entry: bytes) -> range:
    """Number the portions of a step's successors that are not in its entry."""
    kept = json.loads(entry)
    return range(kept.get("more", 0) + 1 if "s" not in kept else 0)


def topology_of(texts: Mapping[str, bytes]) -> dict[int, StepEntry]:
    """Return a body's topology as `topology_fields` laid it out, but for the steps' inputs."""
    entries = {}
    for name, text in texts.items():
        if name.lstrip("-").isdigit():
            kept = json.loads(text)
            successors = kept.get("s") or [s for n in portions_apart(text) for s in json.loads(texts[f"{name}:{n}"])]
            options = {_FIELDS[letter]: value for letter, value in kept.items() if letter in _FIELDS}
            entries[int(name)] = StepEntry(**options, successors=successors)
    return entries


def split_by_size(values: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Tell the values that fit into one script together from those that must be staged."""
    small: dict[str, bytes] = {}
    large: dict[str, bytes] = {}
    left = CHUNK_BYTES
    for token, data in values.items():
        if len(data) <= left and len(small) < FEW:
            small[token] = data
            left -= len(data)
        else:
            large[token] = data
    return small, large


def few(blocks: Iterable[Block]) -> tuple[list[Block], Iterator[Block]]:
    """Tell the first blocks, which fit into one script together, from the rest."""
    first: list[Block] = []
    left, rest = CHUNK_BYTES, iter(blocks)
    for block in rest:
        left -= len(block.data)
        if left < 0 or len(first) >= FEW:
            return first, chain((block,), rest)
        first.append(block)
    return first, rest


def portions(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut an iterable into lists of at most `size`."""
    iterator = iter(items)
    while portion := list(islice(iterator, size)):
        yield portion


def bounded(fields: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Cut fields into portions that one script may write."""
    portion: list[tuple[str, bytes]] = []
    size = 0
    for field, data in fields:
        if portion and (size + len(data) > CHUNK_BYTES or len(portion) >= FIELDS_A_SCRIPT):
            yield portion
            portion, size = [], 0
        portion.append((field, data))
        size += len(data)
    if portion:
        yield portion


def _text(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# -- answers -------------------------------------------------------------------------------------
def header(answer: list[Any]) -> dict[str, Any]:
    """Read what a verb answers, but for bytes."""
    head: dict[str, Any] = _decode(answer[0].decode())
    return head


def response(answer: list[Any], head: Mapping[str, Any] | None = None) -> Response:
    """Read a verb's answer."""
    if head is None:
        head = header(answer)
    rows, generation = head.get("claims") or (), head.get("generation", 0)
    waited = head.get("waited") or [0.0] * len(rows)
    return Response(
        head.get("states") or ("none",),
        head.get("run", "gone"),
        opened(head),
        head.get("ready", 0),
        [_claim(row, answer[3 * at + 1 : 3 * at + 4], generation, waited[at]) for at, row in enumerate(rows)],
        head.get("retry"),
        completed(head),
        head.get("lasted"),
        bool(head.get("left")),
        head.get("skipped", ""),
        head.get("wake_ups"),
        bool(head.get("settled")),
    )


def lost(lost: Lost, wait_seconds: float, deaths: int) -> dict[str, Any]:
    """Say whose claims to give back; the first characters of a message's id are enough to tell it."""
    about: dict[str, Any] = {"dead": list(lost.dead), "left": list(lost.left), "wait": wait_seconds}
    about |= {"limited": lost.limited, "deaths": deaths, "returns": deaths * RETURNS_A_DEATH, "seed": seed()}
    if lost.alive is not None:
        about["alive"] = {
            worker: [
                at,
                None if messages is None else {name[:MESSAGE_CHARACTERS]: 1 for name in messages},
                lost.since.get(worker, {}),
                lost.free.get(worker, 0),
            ]
            for worker, (at, messages) in lost.alive.items()
        }
    return about


def completed(head: Mapping[str, Any]) -> list[Completed]:
    """Read which fan-outs are complete."""
    return [Completed(*row) for row in head.get("completed") or ()]


def seed() -> int:
    """Draw what a script's random numbers begin with: by itself each would draw the same ones."""
    return random.getrandbits(31)


def opened(head: Mapping[str, Any]) -> list[ReadyStep]:
    """Read which steps became ready."""
    return [ReadyStep(*row) for row in head.get("opened") or ()]


def _claim(row: Any, rest: list[Any], generation: int, waited: float) -> Claim:
    if isinstance(row, int) or len(row) == 2:  # of the root, and run once: what most are
        step, attempt = (row, 1) if isinstance(row, int) else row
        place, lo, hi, items, more = _ROOT, -1, -1, -1, []
    else:
        scope, step, lo, hi, attempt, items, where, *more = row
        place = Scope(scope, *where)
    values: dict[str, bytes | None] = {}
    lists: dict[str, list[Block]] = {}
    if rest and rest[0] is not None:
        tokens, names = _names(rest[0])
        values = dict(zip(tokens, rest[1], strict=True))
        if hi > lo:
            lists = {
                token: list(blocks(token, pairs))
                for token, pairs in zip(names, rest[2], strict=True)
                if pairs is not None
            }
    why, seconds = more[0] if more else "", waited if waited >= 0 else None
    return Claim(place, step, lo, hi, attempt, items, values, lists, why, generation, seconds, len(more) > 1)


@lru_cache(maxsize=1_000)
def _names(text: bytes) -> tuple[list[str], list[str]]:
    tokens, lists = json.loads(text)
    return tokens, lists


def blocks(token: str, pairs: list[bytes]) -> Iterator[Block]:
    """Read pairs of field name and bytes."""
    for field, data in zip(pairs[::2], pairs[1::2], strict=True):
        lo, hi, attempt = field.split(b":")
        yield Block(token, int(lo), int(hi), int(attempt), data)


def chunks(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Cut bytes into numbered fields."""
    for number, at in enumerate(range(0, len(data), CHUNK_BYTES)):
        yield str(number), data[at : at + CHUNK_BYTES]


def plan_fields(plan: bytes) -> Iterator[tuple[str, bytes]]:
    """Cut a sealed plan into fields beside the topology of its first body."""
    for number, data in chunks(plan):
        yield f"plan:{number}", data


def plan(command: Callable[..., Any], name: str) -> bytes | None:
    """Read the plan of a run; a chunk that is not full is the last one."""
    found = list[bytes]()
    while not found or len(found[-1]) == CHUNK_BYTES:
        found.append(command("HGET", name, f"plan:{len(found)}") or b"")
    return b"".join(found) or None


def child_plans(client: Any, names: Iterable[str]) -> list[tuple[str, bytes] | None]:
    """Read the plans that are kept with the topology of their first bodies, in portions."""
    plans: list[tuple[str, bytes] | None] = []
    for portion in portions(names, _PLANS_A_READ):
        asked = client.pipeline(transaction=False)
        for name in portion:
            asked.hmget(name, "of", "plan:0")
        for name, (of, first) in zip(portion, asked.execute(), strict=True):
            scope, _, count = (of or b"").decode().partition("/")
            rest = [client.hget(name, f"plan:{number}") or b"" for number in range(1, int(count or 0))]
            plans.append((scope, b"".join((first or b"", *rest))) if of else None)
    return plans


_RECORD: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("name", "state", "failed", "reason", "held", "hook", "fingerprint", "reservation", "trace"), str),
    **dict.fromkeys(("created", "started", "ended", "deadline"), float),
    **dict.fromkeys(("epoch", "untold"), int),
    "shown": json.loads,
    "pauses": lambda text: tuple(tuple(map(float, pause.split(":"))) for pause in text.split()),
}


def record(run_id: str, fields: Mapping[bytes, bytes]) -> RunRecord | None:
    """Read a run's record; None if the run does not exist."""
    if b"state" not in fields:
        return None
    texts = {name: fields[name.encode()].decode() for name in _RECORD if name.encode() in fields}
    return RunRecord(run_id, **{name: _RECORD[name](text) for name, text in texts.items()})


def event(entry_id: bytes, fields: Mapping[bytes, bytes]) -> Event:
    """Read one entry of a run's stream."""
    kind, piece, body, hi, attempt, started, seconds, owner = fields[b"v"].decode().split("|", 7)
    return Event(
        entry_id.decode(), kind, piece, int(body), int(hi), int(attempt), float(started), float(seconds), owner
    )


class ClaimRecord(NamedTuple):
    """An outstanding claim as it is kept; `cursor` is set while the successors of a committed piece are being told, and
    for one that was skipped with its scope.
    """

    hi: int
    attempt: int
    owner: str
    message: str
    started: float
    cursor: str
    body: int


def scope(name: str, text: bytes) -> Scope:
    """Read where a scope hangs, which lua/prelude.lua writes."""
    parent, step, index, body, depth, *_ = text.decode().split("/")
    return Scope(name, parent, int(step), int(index), int(body), int(depth))


def claim_record(text: bytes) -> ClaimRecord:
    """Read an outstanding claim, which lua/claims.lua writes."""
    hi, attempt, owner, message, started, cursor, body, *_ = text.decode().split("|")
    return ClaimRecord(int(hi), int(attempt), owner, message, float(started), cursor, int(body))


def outstanding(
    claims: Mapping[bytes, bytes],
    failed: Iterable[bytes],
    due: Iterable[tuple[bytes, float]],
    refused: Mapping[bytes, bytes],
) -> Outstanding:
    """Read what is claimed, has failed, is due or was refused."""
    records = {name: claim_record(text) for name, text in claims.items() if name}
    claimed = [_claimed(name, record) for name, record in records.items() if record.cursor != _SKIPPED]
    claimed.sort(key=lambda spot: spot.at)
    waiting: dict[str, list[Spot]] = {"r": [], "p": [], "w": []}
    for member, at in due:
        kind, _, rest = member.decode().partition("/")
        scope, step, *limits = rest.split("/")
        lo, hi = map(int, limits[:2]) if limits else (-1, -1)
        waiting[kind].append(Spot(scope, int(step), lo, hi, at))
    refusals = [_refusal(name.decode(), text.decode()) for name, text in refused.items()]
    return Outstanding(claimed, [_spot(name, -1) for name in failed], waiting["r"], waiting["p"], refusals)


def _refusal(name: str, text: str) -> Refusal:
    worker, _, place = name.partition(" ")
    _, queue, why = text.split("|", 2)
    why = "".join(each if each.isprintable() else " " for each in why)  # nothing signs it
    return Refusal(worker, queue, why, *map(int, place.split("."))) if place else Refusal(worker, queue, why)


def _claimed(name: bytes, record: ClaimRecord) -> Spot:
    spot = _spot(name, record.hi)._replace(at=record.started, owner=record.owner, attempt=record.attempt)
    return spot._replace(is_committed=bool(record.cursor))


def _spot(name: bytes, hi: int) -> Spot:
    scope, step, lo = PieceId.parse(name.decode())
    return Spot(scope, step, lo, hi if hi >= 0 or lo < 0 else lo + 1)


def step_fields(steps: Iterable[int]) -> Iterator[str]:
    """Name what the state of a scope says of steps."""
    for step in steps:
        yield from (str(step), f"{step}:n", f"{step}:d", f"{step}:k")


def step_counts(steps: Iterable[int], state: Sequence[bytes | None]) -> Iterator[tuple[int, Counts]]:
    """Read what `step_fields` named."""
    for at, step in enumerate(steps):
        once, items, done, skipped = state[4 * at : 4 * at + 4]
        if once == b"k|":
            yield step, Counts(total=max(1, int(items or 0)), skipped=max(1, int(skipped or 0)), is_begun=False)
        elif items is not None:
            left_out = min(int(skipped or 0), int(done or 0))
            is_begun = int(items) > 0 or done is not None
            yield step, Counts(total=int(items), done=int(done or 0) - left_out, skipped=left_out, is_begun=is_begun)
        elif once is not None:
            _, attempt, started, ended, owner = once.decode().split("|", 4)
            counts = Counts(1, done=1, started=float(started), ended=float(ended), owner=owner)
            yield step, counts._replace(attempt=int(float(attempt)))
        else:
            yield step, Counts(total=-1)
