"""What the numbers of recipes and command lines may be; one outside is an error that names its key or option."""

from argparse import ArgumentTypeError
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta

Positive = Annotated[float, Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Several = Annotated[int, Meta(ge=2, le=1_000_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Side = Annotated[int, Meta(ge=16, le=4096)]


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type: whole numbers from here on."""

    def number(text: str) -> int:
        if not text.lstrip("-").isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"{text}: give a whole number from {least} on")
        return int(text)

    return number


def rate(text: str) -> float:
    """An argparse type: above 0, below 1.

    Raises:
        ArgumentTypeError: anything else.
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise ArgumentTypeError(f"{text}: give a share above 0 and below 1, such as 1e-3")
    return value
