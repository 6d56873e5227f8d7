"""Load for `fastapi_backend.web`: many clients submit at once, and afterwards every run must exist and be right.

Run `python -m fastapi_backend.load http://127.0.0.1:8000` in the folder above, while the app and a worker run.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import statistics
import time
import uuid
from collections.abc import Iterator

import httpx

WANTED = {"parts": 2, "throws": 10}
TLS = ssl.create_default_context()  # one for all clients: making it takes longer than a request


def client(url: str) -> httpx.AsyncClient:
    """Return a client with a connection of its own: a shared one would be the bottleneck."""
    return httpx.AsyncClient(base_url=url, timeout=60, verify=TLS)


async def submit(url: str, keys: Iterator[str], taken: list[float], ids: dict[str, str]) -> None:
    """Submit, as one client, for one key after the other, without waiting for results."""
    async with client(url) as http:
        for key in keys:
            began = time.perf_counter()
            answer = await http.post("/estimates", json=WANTED, headers={"Idempotency-Key": key})
            taken.append(time.perf_counter() - began)
            ids[key] = answer.raise_for_status().json()["id"]


async def fetch(url: str, ids: Iterator[str], found: list[float]) -> None:
    """Wait, as one client, for the results of one run after the other."""
    async with client(url) as http:
        for run_id in ids:
            while (answer := await http.get(f"/runs/{run_id}/result", params={"wait": 30})).status_code == 202:
                pass
            found.append(answer.raise_for_status().json()["result"])


async def load(url: str, runs: int, clients: int) -> None:
    """Submit `runs` runs from `clients` clients at once, fetch all results, and print how long it took."""
    keys, taken, ids, found = [uuid.uuid4().hex for _ in range(runs)], list[float](), dict[str, str](), list[float]()
    began = time.perf_counter()
    left = iter(keys)  # each client takes the next one that is left
    await asyncio.gather(*(submit(url, left, taken, ids) for _ in range(clients)))
    submitted = time.perf_counter() - began
    waiting = iter(ids.values())
    await asyncio.gather(*(fetch(url, waiting, found) for _ in range(clients)))
    everything = time.perf_counter() - began
    lost = runs - len(set(ids.values()))
    right = found.count(found[0])
    cuts = statistics.quantiles(taken, n=100)
    print(f"{runs} submits from {clients} clients in {submitted:.2f} s, {runs / submitted:.0f} a second")
    print(f"p50 {cuts[49] * 1000:.1f} ms, p99 {cuts[98] * 1000:.1f} ms")
    print(f"{lost} lost, {right} results alike, the last one after {everything:.2f} s")
    if lost or right != runs:
        raise SystemExit("runs were lost, or differ in their results")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--clients", type=int, default=50)
    asked = parser.parse_args()
    asyncio.run(load(asked.url, asked.runs, asked.clients))
