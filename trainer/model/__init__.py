"""The networks: encoder, decoders and prediction head as stock Keras models, with their losses."""
