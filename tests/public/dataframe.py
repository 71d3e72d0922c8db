"""A table as a frame of pandas: a row for each figure and prompt."""

import ttc_fast as tf

result = tf.run(tf.RunConfig(samples=64, prompts=8, steps=(2, 8), coefficients="continuous"))
frame = result.table.to_pandas(work=True)
print(frame.columns.tolist())
error = frame[frame.metric == "squared_error"]
mean = error.groupby(["technique", "steps", "samples"]).value.agg(["mean", "sem"])
print(mean.loc["mean"])
work = error.groupby(["technique", "samples"])[["thoughts", "scores"]].mean()
print(work.loc["best_of_n"])
