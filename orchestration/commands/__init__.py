"""The groups of the `rushes` command, a module each: arguments in, words out; what is done is in `assets`."""
