"""What the numbers of a recipe may be; a value outside is an error that names its key."""

from typing import Annotated

from msgspec import Meta

Positive = Annotated[float, Meta(gt=0, le=1e9)]
NotNegative = Annotated[float, Meta(ge=0, le=1e9)]
Share = Annotated[float, Meta(ge=0, le=1)]
Several = Annotated[int, Meta(ge=2, le=1_000_000)]
Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Side = Annotated[int, Meta(ge=16, le=4096)]
