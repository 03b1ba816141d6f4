"""What all tests share: fewer, undated random examples, since the machines are shared and may stall."""

from hypothesis import settings

settings.register_profile("suite", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("suite")
