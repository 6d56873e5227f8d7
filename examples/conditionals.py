"""Publish, send back or refuse texts: branches of a DAG, of which a worker chooses one by a value.

Notice that branches are functions, so that their nodes belong to them, that a branch may contain a branch, and that
nodes of the other branches are shown as skipped.
"""

from __future__ import annotations

from dagcelery import dag, task, when


@task
def words(text: str) -> int:
    """Count words; 0 is false."""
    return len(text.split())


@task
def is_short(count: int) -> bool:
    """Return whether a text with so many words is published."""
    return count < 4


@task
def publish(text: str) -> str:
    """Publish a text."""
    return text.upper()


@task
def send_back(count: int) -> str:
    """Say why a text is too long."""
    return f"{count} words: too long"


@dag
def judged(text: str) -> str:
    """Publish one text, or say why not."""
    count = words(text)
    return when(
        count,
        then=lambda: when(is_short(count), then=lambda: publish(text), otherwise=lambda: send_back(count)),
        otherwise=lambda: "nothing to read",
    )


@dag
def review(texts: list[str]) -> list[str]:
    """Judge each text by itself."""
    return [judged(text) for text in texts]


if __name__ == "__main__":
    from celery import Celery

    from dagcelery import attach

    app = Celery("desk", broker="memory://")
    app.conf.task_always_eager = True
    attach(app)
    run = review.submit(["fine", "as it is", "", "much too long for us"])
    print(run.result())
    for node in run.status().nodes:
        print(f"{node.name}: {node.state} {node.done}, skipped {node.skipped}")
