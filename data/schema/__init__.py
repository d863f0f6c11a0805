"""Which columns make a sequence: detected, chosen, described and compared with what a model needs."""
