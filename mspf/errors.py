"""Everything about data, training and weights that can go wrong in a way a user can mend.

MSPFError
├── RecipeError       a recipe file: which key, which value, what is allowed
├── LayoutError       a data set folder that no known layout fits
├── ImageError        a file of a data set that is no picture
├── CheckpointError   weights that cannot be read, or belong to another network
└── RunError          a run that cannot go on: another recipe or data, a full disk, a loss that is no number

Every message says what, where, which value and what to do.
"""


class MSPFError(Exception):
    """A failure the user can act on; the scripts print it without a traceback."""


class RecipeError(MSPFError):
    """A recipe has an unknown key, a value out of range, or wants what the data do not have."""


class LayoutError(MSPFError, FileNotFoundError):
    """A folder does not hold a data set of a known layout."""


class ImageError(MSPFError, ValueError):
    """A file is not the picture that its name promises."""


class CheckpointError(MSPFError, ValueError):
    """A file holds no weights, or those of another network."""


class RunError(MSPFError):
    """A training run cannot start or go on."""
