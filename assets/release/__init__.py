"""Stage 9, release: the marked bundle of a champion, the documents that go with a model, and `rushes generate`."""
