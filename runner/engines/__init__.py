"""Where embedding happens: on this machine's threads (local.py)."""
