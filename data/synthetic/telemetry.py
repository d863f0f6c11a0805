"""Sensor windows by the million, for measuring: like field data in length, scale and memory, and made without loops."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from seqembed.data.synthetic.generator import (
    CHUNK_ROWS,
    SampleBlock,
    SampleGenerator,
    number_columns,
    offsets_of,
    step_numbers,
)

NUM_FEATURES = 8
NAMES = tuple(f"f{index}" for index in range(NUM_FEATURES))
MIN_LENGTH, MEDIAN_LENGTH, MAX_LENGTH = 5, 32, 100
LENGTH_SPREAD = 0.5  # standard deviation of the logarithm of the length
DEVICES = ("boiler", "chiller", "fan", "motor", "pump", "valve")
PERIODS = np.array([60, 48, 38, 30, 24, 19], dtype=np.float32)  # steps of each device's slow wave

# Per feature, in raw units far apart, so that a model without standardisation shows it.
LEVEL = np.array([20, 1, 230, 50, 0.5, 3000, 0, 75], dtype=np.float32)
SCALE = np.array([3, 0.2, 5, 0.5, 0.15, 250, 1, 10], dtype=np.float32)
# x[t] = MEMORY x[t-1] + sqrt(1 - MEMORY²) e[t] keeps a variance of one at every step.
MEMORY: NDArray[np.float32] = np.linspace(0.6, 0.95, NUM_FEATURES, dtype=np.float32)
INNOVATION: NDArray[np.float32] = np.sqrt(1 - MEMORY**2)


def _wave_mixes() -> NDArray[np.float32]:
    """Return how each device's wave shows in each feature, float32 (sine and cosine, devices, features)."""
    character = np.random.Generator(np.random.PCG64(1))  # of its own: devices stay the same under every seed
    strength = character.uniform(0.3, 1.5, size=(len(DEVICES), NUM_FEATURES))
    phase = character.uniform(0, 2 * np.pi, size=(len(DEVICES), NUM_FEATURES))
    return np.stack([strength * np.cos(phase), strength * np.sin(phase)]).astype(np.float32)


WAVE_MIXES = _wave_mixes()


def make(first_row: int, generator: np.random.Generator) -> SampleBlock:
    """Return windows of lognormal length, eight autocorrelated features each, with the `device` they come from.

    A feature is its level plus its scale times the sum of a first-order autoregression and the device's slow wave.
    """
    lengths = np.rint(np.exp(generator.normal(np.log(MEDIAN_LENGTH), LENGTH_SPREAD, size=CHUNK_ROWS)))
    offsets = offsets_of(np.clip(lengths, MIN_LENGTH, MAX_LENGTH).astype(np.int64))
    devices = generator.integers(len(DEVICES), size=CHUNK_ROWS)
    return SampleBlock(
        ids=pa.array(np.arange(first_row, first_row + CHUNK_ROWS)),
        offsets=offsets,
        columns=number_columns(NAMES, _signals(generator, offsets, devices) * SCALE + LEVEL),
        kept={"device": pa.array(DEVICES).take(pa.array(devices))},
    )


def _signals(
    generator: np.random.Generator, offsets: NDArray[np.int64], devices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return autoregression plus wave of every sequence, float32 (steps, features).

    The one loop is over time: `MAX_LENGTH` rounds at most, each over all sequences that still run. Sequences stand
    longest first and steps time by time, so that a round works on whole slices; gathering rows in index took thrice
    as long.
    """
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    running = np.searchsorted(-lengths[order], -np.arange(1, lengths.max() + 1), side="right")  # (time)
    firsts = offsets_of(running)
    signals = generator.standard_normal((int(firsts[-1]), NUM_FEATURES), dtype=np.float32)  # (steps, features)
    angles = 2 * np.pi * generator.random(len(order), dtype=np.float32)
    turns = 2 * np.pi / PERIODS[devices[order]]
    mixes = WAVE_MIXES[:, devices[order]]  # (sine and cosine, sequences, features)
    signals[: running[0]] /= INNOVATION  # the first round scales it back: a state has a variance of one from the start
    state: NDArray[np.float32] = np.zeros((len(order), NUM_FEATURES), dtype=np.float32)
    for step, count in enumerate(running):
        now = signals[firsts[step] : firsts[step + 1]]
        state = MEMORY * state[:count] + INNOVATION * now
        angle = angles[:count, None] + turns[:count, None] * np.float32(step)
        now[:] = state + np.sin(angle) * mixes[0, :count] + np.cos(angle) * mixes[1, :count]
    ranks = np.empty_like(order)
    ranks[order] = np.arange(len(order))
    return signals[firsts[step_numbers(offsets)] + np.repeat(ranks, lengths)]


GENERATOR = SampleGenerator("telemetry", NAMES, default_rows=10_000, make=make)
