"""`python -m pyfastlr` is the command `pyfastlr`."""

from .cli import main

if __name__ == "__main__":
    main("python -m pyfastlr")
