"""Error against samples and against steps, in a figure of one's own."""

import sys

from matplotlib.figure import Figure

import ttc_fast as tf

prompts = tf.LinearRegression(8, 32, label_noise=0.1).sample(16)
decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(8, examples=32), tf.GaussianNoise(0.2))
table = tf.evaluate(decoder, prompts, steps=[1, 2, 4, 8], samples=64)
table = tf.overlay(decoder, prompts, table)  # theory is dashed
figure = Figure(figsize=(7, 3), layout="constrained")
left, right = figure.subplots(1, 2)
tf.plot(table, "samples", ax=left).legend(fontsize=6)
tf.plot(table.select(technique=["mean", "best_of_n"]), "steps", ax=right).set_title("more thoughts")
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "error.png")
