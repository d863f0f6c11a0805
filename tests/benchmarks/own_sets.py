"""Generated labelled sequences with known differences between classes, to compare configurations.

Each set has four classes of equal frequency, and noise that makes them hard to distinguish. Numbers have no unit.
"""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def _coloured(random, steps, features, memory):
    """Return noise of unit variance, an autoregressive process of order one, float64 (steps, features)."""
    noise = random.standard_normal((steps, features)) * np.sqrt(1 - memory**2)
    noise[0] /= np.sqrt(1 - memory**2)
    for step in range(1, steps):
        noise[step] += memory * noise[step - 1]
    return noise


def motifs(random, kind):
    """Order: a bump and a ripple at random positions, which comes first (2), and the sign of the second feature (2)."""
    steps, width = random.integers(60, 161), 16
    values = 0.7 * _coloured(random, steps, 2, 0.6)
    within = np.arange(width)
    bump = 2.2 * np.sin(np.pi * within / width)
    ripple = 2.56 * np.sin(np.pi * within / 4) * np.hanning(width)
    first, second = np.sort(random.choice(steps - 2 * width, 2, replace=False)) + [0, width]
    for start, shape in zip((first, second), (bump, ripple) if kind % 2 else (ripple, bump), strict=True):
        values[start : start + width, 0] += shape
        values[start : start + width, 1] += 0.7 * shape * (1 if kind // 2 else -1)
    return values


def rhythm(random, kind):
    """Speed: an oscillation of 9, 10.5, 12.5 or 15 steps a turn, its phase unsteady, on a walk and noise."""
    steps = random.integers(40, 121)
    period = (9, 10.5, 12.5, 15)[kind] * np.exp(0.05 * random.standard_normal())
    turned = np.cumsum(2 * np.pi / period * (1 + 0.15 * random.standard_normal(steps))) + random.uniform(0, 2 * np.pi)
    wave = np.exp(0.3 * random.standard_normal()) * np.sin(turned)
    walk = 0.15 * np.cumsum(random.standard_normal(steps))
    return (wave + walk + 0.5 * random.standard_normal(steps))[:, None]


def shapes(random, kind):
    """Position: a small peak at 20, 35, 50 or 65 % of a large hill that all have, slightly shifted and scaled."""
    time = np.linspace(0, 1, 100) + 0.02 * random.standard_normal()
    hill = 3 * np.exp(-(((time - 0.5) / 0.22) ** 2)) * np.exp(0.1 * random.standard_normal())
    peak = 0.45 * np.exp(-(((time - (0.2, 0.35, 0.5, 0.65)[kind]) / 0.04) ** 2))
    noise = 0.12 * _coloured(random, 100, 1, 0.7)[:, 0] + 0.1 * random.standard_normal(100)
    return (hill + peak + noise)[:, None]


def coupling(random, kind):
    """Relation: one of four features follows another one, three steps later; which of four such pairs is the class."""
    steps, late = random.integers(50, 91), 3
    free = _coloured(random, steps + late, 4, 0.7)
    leader, follower = ((0, 1), (1, 2), (2, 3), (3, 0))[kind]
    values = free[late:].copy()
    values[:, follower] = 0.75 * free[:steps, leader] + 0.66 * values[:, follower]
    return values


def ripples(random, kind):
    """Speed, on a common trajectory: a ripple of 6, 8, 11 or 15 steps per period somewhere on a daily curve."""
    time = np.linspace(0, 1, 96) + 0.04 * random.standard_normal()
    day = np.exp(0.2 * random.standard_normal()) * (np.sin(2 * np.pi * time - 1) + 0.5 * np.sin(4 * np.pi * time))
    within, period = np.arange(40), (6, 8, 11, 15)[kind]
    values = np.stack([1.5 * day, np.roll(day, 24)], axis=1) + 0.3 * _coloured(random, 96, 2, 0.5)
    start = random.integers(0, 96 - len(within) + 1)
    ripple = np.sin(2 * np.pi * within / period + random.uniform(0, 2 * np.pi)) * np.hanning(len(within))
    values[start : start + len(within)] += ripple[:, None] * [0.9, 0.5]
    return values


def days(random, kind):
    """Position, in few steps: time of the evening peak of a day of 24 hours, about 17:00, 18:15, 19:30 or 20:45."""
    hour = np.arange(24)
    evening = (17, 18.25, 19.5, 20.75)[kind] + 0.3 * random.standard_normal()
    morning = 7.5 + 0.5 * random.standard_normal()
    peaks = [(morning, 1.8, 1.2), (evening, 1.6, 1.0), (13.0, 3.0, 0.6)]
    day = sum(
        np.exp(0.25 * random.standard_normal()) * top * np.exp(-(((hour - at) / wide) ** 2)) for at, wide, top in peaks
    )
    return (np.exp(0.2 * random.standard_normal()) * (1 + day) + 0.25 * _coloured(random, 24, 1, 0.5)[:, 0])[:, None]


def transients(random, kind):
    """Local shape: one or two events of 8 to 40 steps anywhere in noise; half a wave, a wave, ringing or a decay."""
    values = _coloured(random, random.integers(100, 151), 1, 0.5)[:, 0]
    for _ in range(random.integers(1, 3)):
        width = random.integers(8, 41)
        within = np.arange(width) / width
        shape = (
            np.sin(np.pi * within),
            np.sin(2 * np.pi * within),
            np.sin(6 * np.pi * within) * np.exp(-3 * within),
            np.exp(-6 * within),
        )[kind]
        start = random.integers(0, len(values) - width)
        values[start : start + width] += 2.2 * np.exp(0.15 * random.standard_normal()) * shape
    return values[:, None]


def devices(random, kind):
    """Signature: a device that switches on and off; its spike, its ramp and its ripple while on are the class."""
    spike, ramp, ripple = ((0.0, 0.3, 0.0), (1.0, 0.0, 0.0), (0.0, -0.3, 0.25), (0.7, 0.0, 0.25))[kind]
    values, step = np.zeros(150), int(random.uniform(0, 20))
    while step < len(values):
        steps_on = max(3, int(6 * np.exp(0.2 * random.standard_normal())))
        within = np.arange(steps_on)
        power = (1 + 0.1 * random.standard_normal()) * (1 + ramp * within / steps_on)
        power = power + spike * np.exp(-within) + ripple * np.where(within % 3 == 0, 1, -0.5)
        values[step : step + steps_on] = power[: len(values) - step]
        step += steps_on + int(14 * np.exp(0.5 * random.standard_normal()))
    return (np.exp(0.2 * random.standard_normal()) * values + 0.25 * random.standard_normal(150))[:, None]


OWN_SETS = {
    "motifs": motifs,
    "rhythm": rhythm,
    "shapes": shapes,
    "coupling": coupling,
    "ripples": ripples,
    "days": days,
    "transients": transients,
    "devices": devices,
}
NUM_TRAIN, NUM_HELD_OUT = 100, 1_000


def write_own_set(name, root):
    """Write training and test rows; return both paths."""
    paths = []
    for index, (split, num_rows) in enumerate({"train": NUM_TRAIN, "held-out": NUM_HELD_OUT}.items()):
        random = np.random.default_rng([list(OWN_SETS).index(name), index])
        kinds = np.arange(num_rows) % 4
        rows = [OWN_SETS[name](random, kind).astype(np.float32) for kind in kinds]
        columns = {"id": np.arange(num_rows), "label": kinds}
        for feature in range(rows[0].shape[1]):
            columns[f"f{feature}"] = pa.array([row[:, feature] for row in rows], pa.list_(pa.float32()))
        paths.append(root / f"{split}.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    return paths
