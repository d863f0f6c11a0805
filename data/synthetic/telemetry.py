"""Millions of sensor windows for benchmarks, similar to field data in length, scale and autocorrelation."""

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

# Per feature, in very different raw units, so that missing standardisation shows.
OFFSET = np.array([20, 1, 230, 50, 0.5, 3000, 0, 75], dtype=np.float32)
SCALE = np.array([3, 0.2, 5, 0.5, 0.15, 250, 1, 10], dtype=np.float32)
# x[t] = MEMORY x[t-1] + sqrt(1 - MEMORY²) e[t] has a variance of one at every step.
MEMORY: NDArray[np.float32] = np.linspace(0.6, 0.95, NUM_FEATURES, dtype=np.float32)
INNOVATION: NDArray[np.float32] = np.sqrt(1 - MEMORY**2)


def _wave_mixes() -> NDArray[np.float32]:
    """Return the amplitude of each device's wave in each feature, float32 (sine and cosine, devices, features)."""
    character = np.random.Generator(np.random.PCG64(1))  # fixed: devices are the same for every seed
    strength = character.uniform(0.3, 1.5, size=(len(DEVICES), NUM_FEATURES))
    phase = character.uniform(0, 2 * np.pi, size=(len(DEVICES), NUM_FEATURES))
    return np.stack([strength * np.cos(phase), strength * np.sin(phase)]).astype(np.float32)


WAVE_MIXES = _wave_mixes()


def make(first_row: int, generator: np.random.Generator) -> SampleBlock:
    """Return windows of lognormal length, with eight autocorrelated features and the `device` they come from.

    A feature is its offset plus its scale times the sum of a first-order autoregression and the device's slow wave.
    """
    lengths = np.rint(np.exp(generator.normal(np.log(MEDIAN_LENGTH), LENGTH_SPREAD, size=CHUNK_ROWS)))
    offsets = offsets_of(np.clip(lengths, MIN_LENGTH, MAX_LENGTH).astype(np.int64))
    devices = generator.integers(len(DEVICES), size=CHUNK_ROWS)
    return SampleBlock(
        ids=pa.array(np.arange(first_row, first_row + CHUNK_ROWS)),
        offsets=offsets,
        columns=number_columns(NAMES, _signals(generator, offsets, devices) * SCALE + OFFSET),
        kept={"device": pa.array(DEVICES).take(pa.array(devices))},
    )


def _signals(
    generator: np.random.Generator, offsets: NDArray[np.int64], devices: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return autoregression plus wave of every sequence, float32 (steps, features).

    The only loop is over time: at most `MAX_LENGTH` rounds, each over all sequences that have not ended. Sequences are
    sorted longest first and steps by time, so that a round works on slices; gathering rows took three times as long.
    """
    lengths = np.diff(offsets)
    order = np.argsort(-lengths, kind="stable")
    running = np.searchsorted(-lengths[order], -np.arange(1, lengths.max() + 1), side="right")  # (time)
    firsts = offsets_of(running)
    signals = generator.standard_normal((int(firsts[-1]), NUM_FEATURES), dtype=np.float32)  # (steps, features)
    angles = 2 * np.pi * generator.random(len(order), dtype=np.float32)
    turns = 2 * np.pi / PERIODS[devices[order]]
    mixes = WAVE_MIXES[:, devices[order]]  # (sine and cosine, sequences, features)
    signals[: running[0]] /= INNOVATION  # undone in the first round: the state has a variance of one from the start
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
