"""`python -m spinert` is the command `spinert`."""

from spinert.cli import main

if __name__ == "__main__":
    main()
