"""The command line: the command group, standard streams, configuration files, and the commands without TensorFlow."""

from seqembed.runner.cli.group import main

__all__ = ["main"]
