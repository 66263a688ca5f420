"""`python -m vsalt`: the same as the `vsalt` command."""

from vsalt.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
