"""Stage 6, the dataset: the sealed training snapshot, how often each clip is seen, and what clips look like to the model.

`snapshot` makes a snapshot out of the mart's clips (`split`: which are held out), `sealed` reads it back, `sampling_weights`
weighs its clips, `renditions` makes their frames.
"""
