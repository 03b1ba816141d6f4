"""The MSPF re-identification network: build it, train it, score it, export it."""
