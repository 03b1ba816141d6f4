"""What a simulated person is made of: build, outfit, paint and gait. Lengths are fractions of body height."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Material(IntEnum):
    """What a surface is; the value is the index of its paint, also in the shader."""

    SKIN = 0
    HAIR = 1
    TOP = 2
    INNER = 3
    BOTTOM = 4
    SHOE = 5
    BAG = 6
    HAT = 7


class Pattern(IntEnum):
    """How two colours share a garment; the value is read by the shader."""

    PLAIN = 0
    HORIZONTAL_STRIPES = 1
    VERTICAL_STRIPES = 2
    CHECKS = 3
    COLOUR_BLOCK = 4
    DOTS = 5
    BLOTCHES = 6
    LOGO = 7


class Top(StrEnum):
    """Garment of the upper body."""

    TEE = "tee"
    SHIRT = "shirt"
    JUMPER = "jumper"
    HOODIE = "hoodie"
    JACKET = "jacket"
    COAT = "coat"
    DRESS = "dress"


class Bottom(StrEnum):
    """Garment of the legs; NONE goes with a dress."""

    TROUSERS = "trousers"
    JEANS = "jeans"
    SHORTS = "shorts"
    LEGGINGS = "leggings"
    SKIRT = "skirt"
    NONE = "none"


class Hair(StrEnum):
    """Hair style."""

    BALD = "bald"
    SHORT = "short"
    LONG = "long"
    BUN = "bun"
    TAIL = "tail"
    AFRO = "afro"


class Hat(StrEnum):
    """Headwear."""

    NONE = "none"
    CAP = "cap"
    BEANIE = "beanie"


class Bag(StrEnum):
    """What is carried."""

    NONE = "none"
    BACKPACK = "backpack"
    SHOULDER = "shoulder"


@dataclass(frozen=True, slots=True)
class Build:
    """Shape of a body: 1 is average for every factor, belly is 0..1."""

    height_m: float
    girth: float = 1.0
    shoulders: float = 1.0
    hips: float = 1.0
    belly: float = 0.0
    female: bool = False


@dataclass(frozen=True, slots=True)
class Outfit:
    """Shapes worn; colours are paint."""

    top: Top
    bottom: Bottom
    hair: Hair
    hat: Hat = Hat.NONE
    bag: Bag = Bag.NONE
    boots: bool = False
    looseness: float = 1.0
    skirt_hem: float = 0.30


Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours (sRGB 0..1) of one material; scale is pattern repeats per body height (for COLOUR_BLOCK its edge)."""

    colour: Colour
    second: Colour
    pattern: Pattern = Pattern.PLAIN
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Gait:
    """How somebody walks: degrees, speed in m/s; a held arm is (shoulder, elbow) degrees."""

    speed: float = 1.25
    lean: float = 3.0
    stoop: float = 2.0
    nod: float = 4.0
    arm_swing: float = 18.0
    elbow: float = 18.0
    adduction: float = 13.0
    left_hold: tuple[float, float] | None = None
    right_hold: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """One member of the cast.

    Attributes:
        identity_id: global, from 1.
        paints: one per `Material`, in its order.
        open_front: 0 closed, up to 1 shows the inner colour between the halves of a jacket.
    """

    identity_id: int
    build: Build
    outfit: Outfit
    paints: tuple[Paint, ...]
    gait: Gait
    open_front: float = 0.0
