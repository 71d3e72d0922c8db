"""Prompts in parts, as a cluster would take them: to the bit what the whole would give."""

import tempfile
from pathlib import Path

import ttc_fast as tf

task = tf.LinearRegression(8, 32, label_noise=0.1)
decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(8, examples=32), tf.GaussianNoise(0.2))
with tempfile.TemporaryDirectory() as folder:
    for part in range(4):  # each on a machine of its own
        prompts = task.sample(16, seed=0, first_prompt=16 * part)
        tf.evaluate(decoder, prompts, steps=[2, 8], samples=64).save(f"{folder}/part-{part}.parquet")
    table = tf.Table.concat(map(tf.Table.load, sorted(Path(folder).glob("*.parquet"))))
whole = tf.evaluate(decoder, task.sample(64, seed=0), steps=[2, 8], samples=64)
assert table.keys == whole.keys
assert (table.values == whole.values).all()
print(table)
