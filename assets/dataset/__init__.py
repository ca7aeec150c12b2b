"""Stage 6, the dataset: the sealed training snapshot, what its clips look like to the model, and their latents."""
