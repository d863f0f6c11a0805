"""A PyTorch LSTM of the same weights, packed sequences and a DataLoader. Arguments: INPUT, RUN/weights.npz, OUT."""

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

BATCH = 64


class Rows(torch.utils.data.Dataset):
    """Sequences of a file, float32 (time, features) each."""

    def __init__(self, table, features):
        """Hold all steps end to end."""
        columns = [table[name].combine_chunks() for name in features]
        self.steps = np.stack([column.flatten().to_numpy() for column in columns], axis=-1).astype(np.float32)
        self.offsets = columns[0].offsets.to_numpy()

    def __len__(self):
        return len(self.offsets) - 1

    def __getitem__(self, row):
        return torch.from_numpy(self.steps[self.offsets[row] : self.offsets[row + 1]])


def collate(rows):
    """Return the padded batch and its lengths."""
    return pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


def load(path):
    """Return the LSTM, and mean and spread of the features."""
    held = np.load(path)
    directions = ["", "_reverse"][: int(held["directions"])]
    units = held["recurrent"].shape[0]
    lstm = torch.nn.LSTM(held["kernel"].shape[0], units, batch_first=True, bidirectional=len(directions) == 2)
    weights = {}
    for name in directions:  # Keras and PyTorch agree in the order of the gates
        weights[f"weight_ih_l0{name}"] = torch.from_numpy(held[f"kernel{name}"].T)
        weights[f"weight_hh_l0{name}"] = torch.from_numpy(held[f"recurrent{name}"].T)
        weights[f"bias_ih_l0{name}"] = torch.from_numpy(held[f"bias{name}"])
        weights[f"bias_hh_l0{name}"] = torch.zeros(4 * units)
    lstm.load_state_dict(weights)
    return lstm.eval(), torch.from_numpy(held["mean"]), torch.from_numpy(held["scale"])


def main():
    """Embed a file."""
    source, weights, out = sys.argv[1:]
    table = pq.read_table(source)
    lstm, mean, scale = load(weights)
    rows = Rows(table, sorted(name for name in table.column_names if name.startswith("f")))
    vectors, padded = [], 0
    with torch.inference_mode():
        for values, lengths in torch.utils.data.DataLoader(rows, batch_size=BATCH, collate_fn=collate, num_workers=1):
            values = torch.where(values.isnan(), 0.0, (values - mean) * scale)
            packed = pack_padded_sequence(values, lengths, batch_first=True, enforce_sorted=False)
            _, (state, _) = lstm(packed)
            vectors.append(state.transpose(0, 1).reshape(len(lengths), -1).numpy())
            padded += int(lengths.sum())
    vectors = np.concatenate(vectors)
    embedding = pa.FixedSizeListArray.from_arrays(vectors.reshape(-1), vectors.shape[1])
    pq.write_table(pa.table({"id": table["id"], "embedding": embedding}), out)
    print(padded)


if __name__ == "__main__":
    main()
