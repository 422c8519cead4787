"""`python -m raglift`."""

from raglift.cli import main

if __name__ == "__main__":
    main()
