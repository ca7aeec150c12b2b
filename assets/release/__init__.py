"""Stage 9, release: the one door for generated video, its marks, and the documents that go with a model."""
