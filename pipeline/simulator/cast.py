"""Random people from a seed: build, clothes, colours, patterns, hair, bags; some of them dressed alike."""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from pipeline.simulator.person import (
    Bag,
    Bottom,
    Build,
    Colour,
    Gait,
    Hair,
    Hat,
    Material,
    Outfit,
    Paint,
    Pattern,
    Person,
    Top,
)

SKINS = ("f0c8a8", "d9a582", "b07a52", "7a4b30", "e8b898", "5a3825", "c99468", "f3d2b8")
HAIRS = ("1c1512", "3a2416", "6b4423", "b08a50", "101010", "8a8a88", "5c2c16", "2a1c14", "d8d4cc", "8a3a1a")
TOP_COLOURS = (
    "b02020", "e0c040", "26282c", "f0f0f0", "a87848", "3c7848", "90b8e0", "c03878", "8c1c1c", "603080", "d8641c",
    "30a0a0", "24345c", "787c80", "e8dcc0", "181a20", "2c58a8", "586838", "e898a8", "50302a", "b8bcc0", "1c4840",
)  # fmt: skip
BOTTOM_COLOURS = (
    "2c3e66", "282830", "5a5a58", "8a7a58", "18181c", "20242c", "c8b890", "3c4c6c", "f0f0ea", "6c86ac", "4a3428",
    "40483c", "702028", "98a0a8",
)  # fmt: skip
BAG_COLOURS = ("206030", "181818", "601818", "d8b070", "304878", "c04828", "707070", "582858")
SHOE_COLOURS = ("f0f0f0", "302018", "1a1a1a", "404040", "20140e", "c03028", "4a2c18", "e8d8c8", "3058a0")
EVERYDAY_HAIRS = ("1c1512", "101010", "0c0a0a", "2a1c14", "3a2416", "241a16", "54402c", "7c6a58", "8a8a88", "6b4423")
EVERYDAY_TOPS = (
    "0c0c0e", "141416", "1a1a1e", "202226", "16181e", "282a2e", "34363a", "1a2030", "202a3c", "2a3850", "1e1a1a",
    "44464a", "5c5e62", "7c7e80", "a0a2a4", "d8d8d8", "ececec", "f4f4f2", "3c2c26", "4e3c30", "8a7658", "b8a684",
    "343a2c", "4c5440", "5c2024", "8c2428", "3c5c8c", "90a8c4", "28483c", "c8b0b0", "b0503c", "d0b048",
)  # fmt: skip
EVERYDAY_BOTTOMS = (
    "0e0e10", "141416", "18181c", "1e1e22", "26262a", "1c2434", "222e44", "2c3c58", "3a4c68", "4c6080", "6c80a0",
    "34343a", "505256", "707276", "6c6048", "8a7c60", "a89878", "3c322a", "3e4434", "c8c8c4",
)  # fmt: skip
EVERYDAY_BAGS = (
    "101012", "181818", "202228", "2c2c30", "1c2438", "44464a", "4a3424", "6c4c34", "343c2c", "601818", "707070",
)  # fmt: skip
STRIPES = (Pattern.HORIZONTAL_STRIPES, Pattern.VERTICAL_STRIPES, Pattern.CHECKS, Pattern.DOTS, Pattern.BLOTCHES)
PATTERN_SCALE = {
    Pattern.PLAIN: (1.0, 1.0),
    Pattern.HORIZONTAL_STRIPES: (14.0, 22.0),
    Pattern.VERTICAL_STRIPES: (16.0, 24.0),
    Pattern.CHECKS: (12.0, 20.0),
    Pattern.COLOUR_BLOCK: (0.64, 0.74),
    Pattern.DOTS: (18.0, 28.0),
    Pattern.BLOTCHES: (10.0, 18.0),
    Pattern.LOGO: (1.0, 1.0),
}


@dataclass(frozen=True, slots=True)
class Wardrobe:
    """What a cast wears.

    Attributes:
        hairs, tops, bottoms, bags: colours, hexadecimal.
        contrast: of so many colours the one is taken that stands out most from what is worn beside it.
        patterned: weight of each kind of pattern of a top, where plain weighs 5.
        outdoor: how many times as likely as otherwise a jacket or a coat is.
    """

    hairs: tuple[str, ...]
    tops: tuple[str, ...]
    bottoms: tuple[str, ...]
    bags: tuple[str, ...]
    contrast: int
    patterned: float
    outdoor: float


# Easily told apart; and what people in streets wear: much of it dark, grey or blue, and all of that at once.
COLOURFUL = Wardrobe(HAIRS, TOP_COLOURS, BOTTOM_COLOURS, BAG_COLOURS, contrast=6, patterned=0.8, outdoor=1.0)
EVERYDAY = Wardrobe(
    EVERYDAY_HAIRS, EVERYDAY_TOPS, EVERYDAY_BOTTOMS, EVERYDAY_BAGS, contrast=1, patterned=0.3, outdoor=2.0
)

Choice = TypeVar("Choice")


def random_cast(count: int, seed: int, wardrobe: Wardrobe = COLOURFUL) -> tuple[Person, ...]:
    """People 1..count. Of every six, the second wears the first one's top and the fifth the fourth one's trousers."""
    cast: list[Person] = []
    for index in range(count):
        rng = np.random.default_rng([seed, 4, index])
        person = _random_person(rng, index + 1, wardrobe, separates=index % 6 in (0, 1, 3, 4))
        if index % 6 == 1:
            person = _wearing_top_of(cast[-1], person)
        elif index % 6 == 4:
            person = _wearing_bottom_of(cast[-1], person)
        cast.append(person)
    return tuple(cast)


def alike(first: Person, second: Person) -> tuple[Material, ...]:
    """Which of TOP and BOTTOM these two wear in the same shape and the same colours."""
    same_top = first.outfit.top is second.outfit.top
    same_bottom = first.outfit.bottom is second.outfit.bottom
    same_shape = {Material.TOP: same_top, Material.BOTTOM: same_bottom and first.outfit.bottom is not Bottom.NONE}
    return tuple(part for part, same in same_shape.items() if same and first.paints[part] == second.paints[part])


def _wearing_top_of(model: Person, person: Person) -> Person:
    outfit = replace(person.outfit, top=model.outfit.top, looseness=model.outfit.looseness)
    paints = tuple(
        model.paints[part] if part in (Material.TOP, Material.INNER) else person.paints[part] for part in Material
    )
    return replace(person, outfit=outfit, paints=paints, open_front=model.open_front)


def _wearing_bottom_of(model: Person, person: Person) -> Person:
    paints = tuple((model if part is Material.BOTTOM else person).paints[part] for part in Material)
    return replace(person, outfit=replace(person.outfit, bottom=model.outfit.bottom), paints=paints)


def _random_person(rng: np.random.Generator, identity_id: int, wardrobe: Wardrobe, separates: bool) -> Person:
    build = _random_build(rng)
    outfit = _random_outfit(rng, build.female, wardrobe.outdoor, separates)
    open_front = float(rng.uniform(0.5, 1)) if outfit.top in (Top.JACKET, Top.COAT) and rng.random() < 0.6 else 0.0
    return Person(identity_id, build, outfit, _random_paints(rng, outfit, wardrobe), _random_gait(rng), open_front)


def _random_build(rng: np.random.Generator) -> Build:
    female = bool(rng.random() < 0.5)
    height = rng.normal(1.66, 0.055) if female else rng.normal(1.78, 0.06)
    girth = float(np.clip(rng.normal(0.96 if female else 1.01, 0.08), 0.86, 1.2))
    return Build(
        height_m=float(np.clip(height, 1.52, 1.94)),
        girth=girth,
        shoulders=float(rng.uniform(0.95, 1.05)),
        hips=float(rng.uniform(0.98, 1.10) if female else rng.uniform(0.92, 1.02)),
        belly=float(max(0.0, (girth - 1.0) * 5 * rng.random())),
        female=female,
    )


def _pick(rng: np.random.Generator, choices: dict[Choice, float]) -> Choice:
    """One key, with probability in proportion to its weight."""
    weights = np.array(list(choices.values()))
    return list(choices)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _random_outfit(rng: np.random.Generator, female: bool, outdoor: float, separates: bool) -> Outfit:
    tops = {Top.TEE: 4.0, Top.SHIRT: 3.0, Top.JUMPER: 3.0, Top.HOODIE: 2.0, Top.JACKET: 3.0 * outdoor}
    if not separates:
        tops |= {Top.COAT: 1.5 * outdoor, Top.DRESS: 2.5 if female else 0.0}
    top = _pick(rng, tops)
    bottoms = {Bottom.JEANS: 4.0, Bottom.TROUSERS: 2.5, Bottom.SHORTS: 1.2}
    if female and not separates:
        bottoms |= {Bottom.SKIRT: 2.0, Bottom.LEGGINGS: 1.5}
    if top is Top.COAT:
        bottoms = {Bottom.JEANS: 1.0, Bottom.LEGGINGS: 1.0 if female else 0.0}
    hairs = (
        {Hair.LONG: 4.0, Hair.TAIL: 2.0, Hair.BUN: 1.5, Hair.SHORT: 1.5, Hair.AFRO: 0.5}
        if female
        else {Hair.SHORT: 6.0, Hair.BALD: 1.2, Hair.AFRO: 0.8, Hair.LONG: 0.5}
    )
    hair = _pick(rng, hairs)
    hats = {Hat.NONE: 7.0} if hair in (Hair.BUN, Hair.AFRO) else {Hat.NONE: 7.0, Hat.CAP: 1.5, Hat.BEANIE: 1.2}
    return Outfit(
        top=top,
        bottom=Bottom.NONE if top is Top.DRESS else _pick(rng, bottoms),
        hair=hair,
        hat=_pick(rng, hats),
        bag=_pick(rng, {Bag.NONE: 5.0, Bag.BACKPACK: 2.5, Bag.SHOULDER: 1.8}),
        boots=bool(rng.random() < 0.25),
        looseness=float(rng.uniform(0.85, 1.25)),
        skirt_hem=float(rng.uniform(0.24, 0.36)),
    )


def _random_paints(rng: np.random.Generator, outfit: Outfit, wardrobe: Wardrobe) -> tuple[Paint, ...]:
    skin, hair = _hex(str(rng.choice(SKINS))), _hex(str(rng.choice(wardrobe.hairs)))
    top = _unlike(rng, wardrobe.tops, wardrobe.contrast, (skin,))
    bottom = _unlike(rng, wardrobe.bottoms, wardrobe.contrast, (skin, top))
    shoe = _jittered(rng, str(rng.choice(SHOE_COLOURS)))
    sole = (0.85, 0.85, 0.85) if max(shoe) < 0.8 else (0.5, 0.5, 0.5)
    kinds = {Pattern.PLAIN: 5.0, Pattern.COLOUR_BLOCK: 0.8, Pattern.LOGO: 1.2}
    kinds |= dict.fromkeys(STRIPES, wardrobe.patterned)
    bottoms = {Pattern.PLAIN: 8.0}
    if outfit.bottom is Bottom.SKIRT:
        bottoms |= dict.fromkeys(STRIPES, 1.0)
    plain = {Pattern.PLAIN: 1.0}
    bag, hat = _jittered(rng, str(rng.choice(wardrobe.bags))), _jittered(rng, str(rng.choice(wardrobe.tops)))
    inner = _unlike(rng, wardrobe.tops, wardrobe.contrast, (top,))
    brow: Colour = (hair[0] * 0.8, hair[1] * 0.8, hair[2] * 0.8)
    return (
        Paint(skin, brow),
        Paint(hair, hair),
        _patterned(rng, top, kinds, wardrobe),
        Paint(inner, inner),
        _patterned(rng, bottom, bottoms, wardrobe),
        Paint(shoe, sole),
        _patterned(rng, bag, plain, wardrobe),
        _patterned(rng, hat, plain, wardrobe),
    )


def _patterned(rng: np.random.Generator, colour: Colour, kinds: dict[Pattern, float], wardrobe: Wardrobe) -> Paint:
    kind = _pick(rng, kinds)
    second = _unlike(rng, wardrobe.tops, COLOURFUL.contrast, (colour,))
    return Paint(colour, second, kind, float(rng.uniform(*PATTERN_SCALE[kind])))


def _unlike(rng: np.random.Generator, palette: tuple[str, ...], contrast: int, others: tuple[Colour, ...]) -> Colour:
    """The one of so many colours of the palette that stands out from the others; one tone makes statues."""
    colours = [_jittered(rng, str(code)) for code in rng.permutation(palette)]
    return max(colours[:contrast], key=lambda colour: min(min(_distance(colour, other), 0.35) for other in others))


def _distance(first: Colour, second: Colour) -> float:
    return float(np.linalg.norm(np.subtract(first, second)))


def _hex(code: str) -> Colour:
    return int(code[:2], 16) / 255, int(code[2:4], 16) / 255, int(code[4:], 16) / 255


def _jittered(rng: np.random.Generator, code: str) -> Colour:
    red, green, blue = np.clip(np.array(_hex(code)) + rng.normal(0, 0.025, 3), 0.03, 0.97)
    return float(red), float(green), float(blue)


def _random_gait(rng: np.random.Generator) -> Gait:
    hold = (float(rng.uniform(25, 35)), float(rng.uniform(70, 95))) if rng.random() < 0.2 else None
    left_handed = bool(rng.random() < 0.5)
    return Gait(
        speed=float(rng.uniform(0.95, 1.45)),
        lean=float(rng.uniform(1, 5)),
        stoop=float(rng.uniform(1, 5)),
        nod=float(rng.uniform(2, 8)),
        arm_swing=float(rng.uniform(10, 24)),
        elbow=float(rng.uniform(14, 30)),
        left_hold=hold if left_handed else None,
        right_hold=None if left_handed else hold,
    )
