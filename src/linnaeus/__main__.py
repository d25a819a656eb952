"""python -m linnaeus."""

from linnaeus.cli.main import main

if __name__ == "__main__":
    main()
