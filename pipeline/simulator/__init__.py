"""A rendered world of people and cameras, with exact ground truth."""
