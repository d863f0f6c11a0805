"""The pictures in ``plots/``."""
