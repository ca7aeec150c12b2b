"""From noise to videos: the sampler, and the pictures and videos that a person gives it to start from."""
