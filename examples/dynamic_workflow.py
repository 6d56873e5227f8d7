"""Grow a graph while it runs: the links of a page are known once it was fetched, and then are fetched as well.

Notice that `visit` is plain Python: a branch, a loop, a call of itself. It runs with real values, while the tasks that
it calls run after it. The result of a call may only be passed on, here to `merged`. `path_of` is not decorated, so it
is an ordinary method, and `depth`, an argument of the constructor, is available in every node.
"""

from __future__ import annotations

from dagcelery import Workflow, task

LINKS = {"home": ["news", "shop"], "news": ["sport", "home"], "shop": ["cart"], "sport": [], "cart": ["shop"]}


class Crawl(Workflow):
    """Follows links down to a depth."""

    def __init__(self, depth: int) -> None:
        self.depth = depth

    @task
    def entrypoint(self, page: str) -> list[str]:
        """Begin a run."""
        return self.merged([self.visit([page])])

    @task
    def visit(self, path: list[str]) -> list[str]:
        """Fetch a page, and visit the pages that it links to; without links, return a value instead of a graph."""
        onward = [link for link in LINKS[path[-1]] if link not in path]
        if len(path) > self.depth or not onward:
            return [self.path_of(path)]
        return self.merged([[self.path_of(path)], *[self.visit([*path, link]) for link in onward]])

    @task
    def merged(self, parts: list[list[str]]) -> list[str]:
        """Get the values of all promises in a list."""
        return [path for part in parts for path in part]

    def path_of(self, path: list[str]) -> str:
        """Run inline, in whichever node calls it."""
        return "/".join(path)


crawl = Crawl(depth=2)

if __name__ == "__main__":
    for found in crawl.invoke("home"):
        print(found)
