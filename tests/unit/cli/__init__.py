"""The command line, as its program is called and as its functions are."""
