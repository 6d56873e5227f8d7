"""Chain tasks item by item, over a list that is a parameter.

Notice that there is no barrier: `resize(fetch(url))` continues with one item while others are still being fetched. A
task may take the item itself as well, besides the result made from it.
"""

from __future__ import annotations

from dagcelery import dag, task


@task
def fetch(url: str) -> str:
    """Stand in for a download."""
    return f"<{url}>"


@task
def resize(image: str) -> str:
    """Stand in for work on a download."""
    return image.replace("<", "small<")


@task
def describe(url: str, image: str) -> dict[str, str]:
    """Use the item and the result made from it."""
    return {"url": url, "image": image}


@dag
def thumbnails(urls: list[str]) -> list[dict[str, str]]:
    """Build one chain for each address."""
    return [describe(url, resize(fetch(url))) for url in urls]


if __name__ == "__main__":
    for found in thumbnails.invoke(urls=["a.png", "b.png"]):
        print(found)
