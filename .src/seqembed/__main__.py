"""`python -m seqembed`, the same as the command `seqembed`."""

from seqembed.runner.cli import main

if __name__ == "__main__":
    main()
