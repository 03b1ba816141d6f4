"""Run a network file fast, anywhere: arrays in, arrays out."""
