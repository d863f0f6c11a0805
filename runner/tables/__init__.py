"""Tables in memory in, vectors out: what `seqembed.load` returns, and the sources that it reads."""
