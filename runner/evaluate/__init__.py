"""What the vectors of a bundle are worth on a user's own labels, and what training bought. No TensorFlow here."""
