"""Tables of other formats as inputs: their live files, and the rows of a file as its table means them."""
