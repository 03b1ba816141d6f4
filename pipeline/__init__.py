"""Cameras to cross-camera identities: sources, workers, matcher, supervisor, command line."""
