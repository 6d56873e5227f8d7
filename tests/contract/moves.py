"""A worker's moves without Celery: hand-written topologies, claims, and finishes that say what was done."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from dagcelery.store.keys import Keys
from dagcelery.store.protocol import Store
from dagcelery.store.records import (
    CELL,
    CLOSE,
    ROOT,
    START,
    Block,
    Child,
    Claim,
    ClaimRequest,
    NewRun,
    Response,
    Spot,
    StepEntry,
    TaskResult,
    Topology,
)
from dagcelery.store.wire import LETTERS

Entry = dict[str, Any]
"""A step's entry by the store's own letters, which are short."""
Body = dict[str, Entry]
_FIELDS = {letter: name for name, letter in LETTERS.items()} | {
    "s": "successors",
    "in": "inputs",
    "ea": "item_inputs",
    "ff": "fail_fast",
    "hk": "has_hooks",
}
_ENDS = {"start": START, "close": CLOSE}
numbers = itertools.count(1)


def step(
    n: int = 0,
    s: Sequence[int] = (),
    *,
    q: str = "cpu",
    x: str = "",
    e: int = 0,
    b: int | None = None,
    needs: Sequence[str] = (),
    each: Sequence[str] = (),
    se: Sequence[int] = (),
    **policies: Any,
) -> Entry:
    """A step that waits for `n` others (and item by item for `e` fan-outs) and is waited for by `s` (`se`)."""
    entry: Entry = {"q": q, "n": n, "e": e, "x": x, "in": list(needs), "ea": list(each)}
    return entry | {"s": list(s), "se": list(se)} | ({} if b is None else {"b": b}) | policies


def retry(calls: int, base: float = 0.0, factor: float = 1.0, cap: float = 60.0, *, limit: bool = False) -> Entry:
    """A policy of up to `calls` calls; `limit` if one that a time limit killed is repeated as well."""
    waits = {"base": base, "factor": factor, "maximum": cap, "jitter": False}
    return waits | {"max_attempts": calls, "time_limit": limit}


def pass_time(store: Store, run_id: str, seconds: float) -> None:
    """Let a run be so much older: what it waits for is due sooner. No test waits itself, or depends on its speed."""
    client, due = store.server.client, Keys().run(run_id, "d")
    for member, at in client.zrange(due, 0, -1, withscores=True):
        client.zadd(due, {member: at - seconds})
    for field in ("due", "since"):
        at = client.hget(Keys().run(run_id), field)
        if at is not None:
            client.hset(Keys().run(run_id), field, f"{float(at) - seconds:.6f}")
    if (clearing := client.hget(Keys().run(run_id), "clear_at")) is not None:
        token, number, heard, patience = clearing.split()
        heard = f"{float(heard) - seconds:.6f}".encode()
        client.hset(Keys().run(run_id), "clear_at", b" ".join((token, number, heard, patience)))


def body(starts: Sequence[int], *steps: Entry) -> Body:
    """A body whose steps `starts` wait for nothing."""
    return {"start": step(s=starts), "close": step()} | {str(i): entry for i, entry in enumerate(steps)}


def outliving(*bodies: Body) -> list[Body]:
    """A run whose other steps go on when one fails."""
    return [bodies[0] | {"start": bodies[0]["start"] | {"ff": False}}, *bodies[1:]]


def hooked(*bodies: Body, queue: str = "cpu") -> list[Body]:
    """A run that has something called at its end, on `queue`."""
    first = {"start": bodies[0]["start"] | {"hk": True}, "close": bodies[0]["close"] | {"q": queue}}
    return [bodies[0] | first, *bodies[1:]]


def entries(bodies: Sequence[Body]) -> Topology:
    """These bodies as the store takes them."""
    return [
        {
            _ENDS[name] if name in _ENDS else int(name): StepEntry(**{_FIELDS[key]: said for key, said in step.items()})
            for name, step in body.items()
        }
        for body in bodies
    ]


def chain(length: int) -> list[Body]:
    """One step after the other."""
    last = length - 1
    return [
        body(
            [0],
            *(step(min(i, 1), [i + 1] if i < last else [], needs=[f"{i - 1}.0"] if i else []) for i in range(length)),
        )
    ]


def elements(token: str, data: Sequence[bytes], attempt: int = 0, cell: int = CELL) -> list[Block]:
    """A list as blocks; the bytes of a block are those of its elements, end to end."""
    found = []
    for lo in range(0, len(data), cell):
        hi = min(lo + cell, len(data))
        found.append(Block(token, lo, hi, attempt, b"".join(data[lo:hi])))
    return found


def results(claim: Claim, done: int | None = None, data: bytes = b".") -> list[Block]:
    """Result 0 of the items of a granted range, in blocks that do not cross cells."""
    token, lo, hi = f"{claim.step}.0", claim.lo, claim.hi if done is None else done
    edges = [lo, *(edge for edge in range((lo // CELL + 1) * CELL, hi, CELL)), hi]
    return [Block(token, a, b, claim.attempt, data * (b - a)) for a, b in itertools.pairwise(edges) if b > a]


class Worker:
    """One process that claims and finishes pieces of one run; every call has a token of its own."""

    def __init__(self, store: Store, run_id: str, owner: str = "worker-a:1", queue: str = "cpu") -> None:
        self.store = store
        self.run_id = run_id
        self.owner = owner
        self.queue = queue

    def want(self, **options: Any) -> ClaimRequest:
        return ClaimRequest(
            **{"queue": self.queue, "owner": self.owner, "token": f"{self.owner}/{next(numbers)}"} | options
        )

    def ask(self, **options: Any) -> Response:
        return self.store.machine.claim(self.run_id, self.want(**options))

    def claim(self, **options: Any) -> Claim:
        claim = self.ask(**options).claim
        assert claim is not None, "nothing to claim"
        return claim

    def nothing(self, **options: Any) -> bool:
        return self.ask(**options).claim is None

    def finish(self, claim: Claim, want: ClaimRequest | None = None, *, token: str = "", **outcome: Any) -> Response:
        said = {"started": time.time(), "seconds": 0.001, "done": claim.hi} | outcome
        token = token or (want.token if want else f"{self.owner}/{next(numbers)}")
        return self.store.machine.finish(self.run_id, [(claim, TaskResult(**said))], self.owner, token, want)

    def fail(
        self, claim: Claim, want: ClaimRequest | None = None, *, at: int | None = None, **outcome: Any
    ) -> Response:
        """Say that the piece failed; of a range, that item `at` did, or its first."""
        done = claim.lo if at is None else at
        said: dict[str, Any] = {"failure": b"boom", "done": done}
        return self.finish(claim, want, **said | outcome)

    def delegate(self, claim: Claim, want: ClaimRequest | None = None, *, token: str = "", **given: Any) -> Response:
        """Open the scopes of the granted items; `given` are what each child gets, as `Child` has it."""
        children = [Child(index, **given) for index in range(claim.lo, claim.hi)]
        token = token or (want.token if want else f"{self.owner}/{next(numbers)}")
        return self.store.machine.delegate(self.run_id, claim, children, self.owner, token, want)

    def pieces(
        self, topology: Sequence[Body], produce: Callable[[Claim], Mapping[str, Any]], **options: Any
    ) -> Iterator[Claim]:
        """Run all that is ready, as a worker does: finish and claim the next in one call."""
        claim = self.ask(**options).claim
        while claim is not None:
            yield claim
            want = self.want(**options)
            entry = topology[claim.scope.body].get(str(claim.step), {})
            if "b" in entry:
                reply = self.delegate(claim, want, **produce(claim))
            else:
                reply = self.finish(claim, want, **produce(claim))
            assert reply.state == "committed"
            claim = reply.claim


def whole(*steps: int) -> list[Spot]:
    """These steps of the root scope, as places that are cleared."""
    return [Spot(ROOT, number) for number in steps]


def nothing(claim: Claim) -> Mapping[str, Any]:
    """A step without outputs."""
    return {}


def name(claim: Claim) -> str:
    """A short name of what was granted: "3", "3[0:5]", "start", "close"."""
    plain = {START: "start", CLOSE: "close"}.get(claim.step, str(claim.step))
    return plain + (f"[{claim.lo}:{claim.hi}]" if claim.lo >= 0 else "")


def new_run(store: Store, topology: Sequence[Body], **options: Any) -> str:
    """Create a run of this topology and give its id back."""
    run_id = f"run-{next(numbers)}"
    store.machine.create(
        NewRun(id=run_id, **{"name": "test", "plan": b"plan", "topology": entries(topology)} | options)
    )
    return run_id


def begun(store: Store, topology: Sequence[Body], **options: Any) -> tuple[str, Worker]:
    """Create a run of this topology; give its id back, and a worker of it."""
    run_id = new_run(store, topology, **options)
    return run_id, Worker(store, run_id)


def drain(store: Store, run_id: str, topology: Sequence[Body], **options: Any) -> list[str]:
    """Let one worker do the whole run; give back what it was granted, in order."""
    queues = sorted({entry["q"] for body in topology for entry in body.values()})
    produce = options.pop("produce", nothing)
    done: list[str] = []
    found = True
    while found:
        found = False
        for queue in queues:
            worker = Worker(store, run_id, queue=queue)
            for claim in worker.pieces(topology, produce, **options):
                found = True
                done.append(name(claim))
    return done


def state_after(store: Store, run_id: str, seconds: float = 0) -> str:
    """Return the state of a run when it has ended, or after so many seconds; "gone" without a run."""
    with store.reader.listening(run_id) as listen:
        return listen(seconds)
