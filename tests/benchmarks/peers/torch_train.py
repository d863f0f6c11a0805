"""A PyTorch loop over packed sequences and a DataLoader. Arguments: ARRAYS, EPOCHS, BATCH, SEED."""

import json
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

UNITS = 64


class Autoencoder(nn.Module):
    """An LSTM, its last state at every step of another, a linear layer."""

    def __init__(self, features):
        """Build the layers."""
        super().__init__()
        self.encoder = nn.LSTM(features, UNITS)
        self.decoder = nn.LSTM(UNITS, UNITS)
        self.written = nn.Linear(UNITS, features)

    def forward(self, packed):
        """Return what is written of each real step, in the order of `packed.data`."""
        _, (state, _) = self.encoder(packed)  # in the order the rows came
        state = state[0][packed.sorted_indices]
        repeated = torch.cat([state[:size] for size in packed.batch_sizes.tolist()])
        hidden, _ = self.decoder(PackedSequence(repeated, packed.batch_sizes))
        return self.written(hidden.data)


def batches(rows, batch_size, shuffle):
    """Return a loader of packed batches."""
    return torch.utils.data.DataLoader(
        rows, batch_size, shuffle=shuffle, collate_fn=lambda some: pack_sequence(some, enforce_sorted=False)
    )


def main():
    """Train and print the results."""
    path, epochs, batch_size, seed = sys.argv[1], *map(int, sys.argv[2:])
    torch.manual_seed(seed)
    held = np.load(path)
    rows = [torch.from_numpy(one) for one in np.split(held["steps"], held["offsets"][1:-1])]
    sides = [[row for row, out in zip(rows, held["held_out"], strict=True) if out == side] for side in (False, True)]
    model = Autoencoder(held["steps"].shape[1])
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    loss = 0.0
    start = time.perf_counter()
    for _ in range(epochs):
        model.train()
        for packed in batches(sides[0], batch_size, shuffle=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(packed), packed.data).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            sums = [
                (((model(packed) - packed.data) ** 2).sum().item(), packed.data.numel())
                for packed in batches(sides[1], batch_size, shuffle=False)
            ]
        loss = sum(one for one, _ in sums) / sum(count for _, count in sums)
    seconds = time.perf_counter() - start
    print(json.dumps({"rows": epochs * len(sides[0]), "seconds": seconds, "loss": loss}))


if __name__ == "__main__":
    main()
