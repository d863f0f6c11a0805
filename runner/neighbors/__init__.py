"""Look at the nearest vectors of some ids: `seqembed neighbors`."""
