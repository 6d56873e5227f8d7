"""``python -m dagcelery.cli`` is ``dagcelery`` where the script is not on PATH."""

from dagcelery.cli.commands import main

if __name__ == "__main__":
    main()
