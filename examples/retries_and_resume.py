"""Download from servers that fail at times: retry, skip the hopeless cases, and resume a failed run.

Notice what is executed again: a retry repeats one item, `resume` only failed pieces, and the report sees in its list
which items were skipped. Finished work stays done, on workers even if their process or machine dies in between.
"""

from __future__ import annotations

from celery import Celery

from dagcelery import Retry, Skipped, attach, dag, exponential, present, task

PATIENT = Retry(max_attempts=3, wait=exponential(base=0.01, maximum=0.1), on=OSError)

TRIED: dict[str, int] = {}
"""A stand-in for the network: how often this process has requested a page."""
READERS: list[str] = []
"""A stand-in for a mail server's list of recipients."""


@task(retry=PATIENT, on_item_failure="skip", timeout=30)
def download(url: str) -> str:
    """Fail the first time, as networks do; some pages are gone for good, so retrying them is useless."""
    if "gone" in url:
        raise ValueError(f"there is no {url}")
    TRIED[url] = TRIED.get(url, 0) + 1
    if TRIED[url] == 1:
        raise ConnectionError(f"{url} does not answer")
    return f"<{url}>"


@task
def report(pages: list[str | Skipped]) -> str:
    """List the pages, and those that are missing."""
    missing = [page.message for page in pages if isinstance(page, Skipped)]
    found = " ".join(present(pages))
    return f"{found}, but {' and '.join(missing)}" if missing else found


@dag
def digest(urls: list[str]) -> str:
    """Report on all pages."""
    return report([download(url) for url in urls])


@task
def send(text: str) -> str:
    """Fail as long as there are no recipients."""
    if not READERS:
        raise RuntimeError("nobody wants to read it")
    return f"to {READERS[0]}: {text}"


@dag
def newsletter(urls: list[str]) -> str:
    """Make the digest and send it."""
    return send(digest(urls))


if __name__ == "__main__":
    app = Celery("newsletter")
    app.conf.task_always_eager = True  # in this process; the same holds on workers
    attach(app)
    run = newsletter.submit(urls=["a", "b", "gone"])
    print(f"{run.state}, at {run.status().failed}")
    for error in run.errors():
        print(f"  {error.address}, attempt {error.attempt}: {error.type_name}: {error.message}")
    READERS.append("Ada")
    asked = dict(TRIED)
    print(run.resume().result())
    print(f"no page was asked for again: {asked == TRIED}")
