"""Sample data for experiments and benchmarks, written by ``seqembed sample``.

There is one module per generator, one writer, and `seqembed.data.synthetic.catalog` as the entry point. The same seed
gives the same bytes, and the first rows do not depend on the number of rows.
"""
