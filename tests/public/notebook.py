"""What one would type in a notebook."""

import ttc_fast as tf

prompts = tf.LinearRegression(16, 64, label_noise=0.1).sample(8, seed=0)
decoder = tf.StochasticDecoder(tf.LinearAttention.gradient_descent(16, examples=64), tf.GaussianNoise(0.2))
table = tf.evaluate(decoder, prompts, steps=8, samples=64, techniques=["mean", "best_of_n"], progress=True)
print(table)
table = tf.overlay(decoder, prompts, table, progress=True)
for key, summary in table.select(metric="squared_error").summary().items():
    print(key.technique, key.samples, f"{summary.mean:.4f} [{summary.ci_low:.4f}, {summary.ci_high:.4f}]")
print(max(abs(check.z) for check in table.theory_checks().values()), "standard errors from theory at most")
result = tf.run(tf.RunConfig(samples=64, prompts=4, steps=(2, 8)), progress=True)
print(result.backend, result.table["binary", "majority_vote", 8, 64, "squared_error"].mean())
