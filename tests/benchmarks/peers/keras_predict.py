"""The usual inference: pandas, pad_sequences, `predict`, Parquet. Arguments: INPUT, RUN, OUT, BATCH."""

import sys

import numpy as np
import pandas as pd
from keras.models import load_model
from keras.utils import pad_sequences

source, run, out, batch_size = sys.argv[1:]
frame = pd.read_parquet(source)
features = [name for name in frame.columns if name.startswith("f")]
lengths = frame[features[0]].map(len).to_numpy(dtype=np.int32)
values = np.stack([pad_sequences(frame[name], dtype="float32", padding="post") for name in features], axis=-1)
encoder = load_model(f"{run}/encoder.keras")
embedding = encoder.predict({"values": values, "lengths": lengths}, batch_size=int(batch_size), verbose=0)
frame[["id"]].assign(embedding=list(embedding)).to_parquet(out)
print(values.shape[0] * values.shape[1])
