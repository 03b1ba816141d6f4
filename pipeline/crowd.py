"""How many there are to be taken for: the more people are known, the more alike two must be to be one. Pure.

Half as many strangers are above a threshold that is 0.04 higher; how many strangers somebody may be taken for is the
size of the gallery. How much that should count was measured on crowds of real people (docs/crowds.md).
"""

import math

_FEW = 20  # people, up to whom thresholds hold as they are given
_MANY = 2000  # people, from whom on they rise no more: a sure match must stay possible
_TWINS = 0.95  # who is so alike may merge in any crowd


def taken_off(known: int, penalty: float) -> float:
    """What a similarity is less worth among so many known people; `penalty` is of a tenfold."""
    return penalty * math.log10(min(max(known, _FEW), _MANY) / _FEW)


def merges_from(similarity: float, known: int, penalty: float) -> float:
    """From which similarity on two identities are one among so many, where it is `similarity` among few."""
    return max(similarity, min(similarity + taken_off(known, penalty), _TWINS))
