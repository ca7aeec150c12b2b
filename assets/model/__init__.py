"""Stage 7, the model: the video autoencoder and the video transformer, trained in subprocesses under consent."""
