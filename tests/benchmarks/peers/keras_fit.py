"""The usual training: arrays padded to the longest, a mask, `model.fit`. Arguments: ARRAYS, EPOCHS, BATCH, SEED."""

import json
import sys
import time

import keras
import numpy as np
from keras import layers

path, epochs, batch_size, seed = sys.argv[1], *map(int, sys.argv[2:])
keras.utils.set_random_seed(seed)
held = np.load(path)
steps, offsets, held_out = held["steps"], held["offsets"], held["held_out"]
real = np.arange(np.diff(offsets).max()) < np.diff(offsets)[:, None]  # (rows, time)
values = np.zeros((*real.shape, steps.shape[1]), dtype=np.float32)
values[real] = steps
weights = real.astype(np.float32)

inputs = keras.Input(values.shape[1:])
state = layers.LSTM(64)(layers.Masking()(inputs))
written = layers.LSTM(64, return_sequences=True)(layers.RepeatVector(values.shape[1])(state))
model = keras.Model(inputs, layers.TimeDistributed(layers.Dense(steps.shape[1]))(written))
model.compile(keras.optimizers.Adam(2e-3, global_clipnorm=1.0), "mse")
train, test = (values[side] for side in (~held_out, held_out))
start = time.perf_counter()
model.fit(
    train,
    train,
    sample_weight=weights[~held_out],
    validation_data=(test, test, weights[held_out]),
    batch_size=batch_size,
    epochs=epochs,
    verbose=0,
)
seconds = time.perf_counter() - start
errors = ((model.predict(test, verbose=0) - test) ** 2).mean(axis=-1)[real[held_out]]
print(json.dumps({"rows": epochs * len(train), "seconds": seconds, "loss": float(errors.mean())}))
