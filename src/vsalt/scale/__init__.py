"""Memory, communication and decoding of a run on many GPUs, by formula: nothing is run."""
