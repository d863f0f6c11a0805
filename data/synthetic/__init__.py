"""Sample data for trying things out and for measuring them, written by ``seqembed sample``.

One file a generator, one writer for all of them, and `seqembed.data.synthetic.catalog` in front. The same seed gives
the same bytes; the first rows stay what they are when more are asked for.
"""
