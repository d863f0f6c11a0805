"""What a sequence is, and how it is read, batched and described.

Everything here needs numpy and pyarrow alone, so that the trainer, the exporter and the nightly runner read the
same rows in the same way. Imports go one way: data ← runner ← exporter, and data ← trainer.
"""
