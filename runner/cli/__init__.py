"""The command line: command group, standard streams, configuration files, and commands without TensorFlow."""

from seqembed.runner.cli.group import main

__all__ = ["main"]
