"""Count words over every source file of Python's own standard library, or of a folder, and show the ten most common.

Notice that the program says what is to be done, and the table shows its progress: the map is sent as a Celery chord,
and two workers share its files. `python examples/word_count.py` starts a server and the workers on this machine, and
leaves nothing behind; `python examples/word_count.py src` counts the words in `src`.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from dagcelery import dag, task

WORD = re.compile(r"[A-Za-z_]{3,}")


@task
def source_files(folder: str) -> list[str]:
    """Return every source file below a folder."""
    return sorted(str(path) for path in Path(folder).rglob("*.py") if "site-packages" not in path.parts)


@task
def count_words(path: str) -> dict[str, int]:
    """Count the words of one file."""
    return dict(Counter(WORD.findall(Path(path).read_text(encoding="utf-8", errors="replace"))))


@task
def commonest(counts: Iterable[dict[str, int]], most: int) -> list[list[str | int]]:
    """Add up the counts of all files, one after the other, and return the most common words."""
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return [[word, count] for word, count in total.most_common(most)]


@dag
def word_count(folder: str, most: int = 10) -> list[list[str | int]]:
    """Map over files, and reduce."""
    return commonest([count_words(path) for path in source_files(folder)], most)


def main() -> None:
    """Show the canvas, run with two workers, watch it, and print the result."""
    from dagcelery.cli import show_run
    from dagcelery.local import cluster

    folder = sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_paths()["stdlib"]
    print(f"The commonest words in the Python files below {folder}")
    with cluster(workers=2):
        run = word_count.submit(folder=folder)
        show_run(run, plan=word_count)
        for word, count in run.result(timeout=300):
            print(f"{count:8,}  {word}")
    print("To see runs in a browser: pip install 'dagcelery[web]', then dagcelery dev -- dagcelery ui")


if __name__ == "__main__":
    main()
