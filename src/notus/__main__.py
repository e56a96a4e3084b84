"""``python -m notus`` is the command line."""

from notus.cli.main import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
