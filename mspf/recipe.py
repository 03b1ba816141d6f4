"""Recipes: one small typed file (configs/train/*.yaml) that says how a network is trained."""

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from mspf.augmentation import AugmentConfig
from mspf.errors import RecipeError
from mspf.losses import LossConfig
from mspf.network import MSPFConfig
from mspf.ranges import Count, NotNegative, Positive, Several, Share, Side

KEYS = "every key stands in mspf/recipe.py"


class SourceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One data set with a share of its own: its name and how many people of it each batch holds.

    Attributes:
        stored_hw: the size at which its images are kept in memory; the recipe's size if left out.
    """

    name: str
    people: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    stored_hw: tuple[Side, Side] | None = None


class TrainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe.

    Attributes:
        sources: data sets with fixed shares of every batch; left out, all people of all data sets are drawn evenly.
        people: of a batch, where `sources` does not say; batches are people x images_per_person (the paper: 16 x 4).
        alike: of the P people of a source in a batch one comes in turn, the others are drawn from those of it who look
            most like them, alike x (P - 1), by the weights that the run starts from (--init); 0 draws anybody.
        epochs: length; an epoch is as many steps as there are images, divided by those of a batch.
        schedule: after the warm-up the rate falls by a cosine to `final_lr`, or to a `gamma`th at each milestone.
        warmup_epochs: in which the rate climbs from `warmup_from` x lr to lr.
        decay_vectors: weight decay also for norms and biases, as the Adam and SGD of the papers have it.
        classifier_lr: of the classifiers, whose inputs are long, as a share of `lr`.
        clip: largest norm of the network's gradient; 0 for none.
        ema: decay a step of the averaged weights, which are what is validated and shipped; 0 ships the last ones.
        reseed_patches: patch bodies start as copies of the global one, whatever the weights to start from have.
        precision: of activations; float16 scales its losses, on CUDA alone; a CPU without bfloat16 takes float32.
        cuda_graphs: on one GPU, forward and backward are recorded once and launched whole.
        compile: by torch.compile, in place of CUDA graphs: fuses kernels, takes long to start; not timed on a GPU yet;
            on a CPU in bfloat16 its gradients were no numbers (torch 2.14).
        deterministic: the same weights from the same seed on CUDA, too, where that costs speed.
        validation_ids: the last people of every data set, kept out of training and scored now and then.
        validate_every: epochs between two scores.
        msmt17_validation_part: of MSMT17, train on list_val.txt, too: 32,621 images, not 30,248.
        one_camera: score as a set of one camera: matches in a query's own camera count.
        save_every_minutes: between checkpoints; one is also written after every score and at an interrupt.
    """

    sources: tuple[SourceConfig, ...] = ()
    network: MSPFConfig = MSPFConfig(compact=0)
    losses: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    size_hw: tuple[Side, Side] = (256, 128)
    people: Several = 16
    images_per_person: Several = 4
    alike: Count = 0
    epochs: Positive = 60.0
    optimiser: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: Positive = 2e-3
    weight_decay: NotNegative = 0.02
    decay_vectors: bool = False
    momentum: Share = 0.9
    schedule: Literal["cosine", "step", "flat"] = "cosine"
    final_lr: NotNegative = 1e-5
    milestones: tuple[Positive, ...] = ()
    gamma: Share = 0.1
    warmup_epochs: NotNegative = 3.0
    warmup_from: Share = 0.05
    classifier_lr: NotNegative = 0.1
    clip: NotNegative = 5.0
    ema: Share = 0.998
    reseed_patches: bool = False
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    cuda_graphs: bool = True
    compile: bool = False
    deterministic: bool = False
    validation_ids: Count = 0
    validate_every: Positive = 10.0
    msmt17_validation_part: bool = False
    one_camera: bool = False
    save_every_minutes: NotNegative = 2.0
    seed: Count = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        if self.network.compact:
            raise ValueError(f"compact: {self.network.compact} is not trained; set 0, export fits the compact head")
        try:
            self.network.check_size(self.size_hw)
        except ValueError as error:
            raise ValueError(f"size_hw: {error}") from error
        if len({source.name for source in self.sources}) < len(self.sources):
            raise ValueError("sources: two of one name")
        if self.schedule == "step" and not self.milestones:
            raise ValueError("schedule: step falls at milestones, and there are none")
        if any(first >= second for first, second in zip(self.milestones, self.milestones[1:], strict=False)):
            raise ValueError(f"milestones: {list(self.milestones)} must rise")

    @property
    def people_of_pools(self) -> list[int]:
        """Of a batch, those of each source, or all of them."""
        return [source.people for source in self.sources] or [self.people]

    @property
    def batch_images(self) -> int:
        """Images of a batch, over all processes."""
        return sum(self.people_of_pools) * self.images_per_person


def read_recipe(path: Path, changes: Mapping[str, str] | None = None) -> TrainConfig:
    """The recipe of a YAML file, with some of its values changed.

    Args:
        changes: dotted key -> YAML value, as {"network.width": "0.25"}; what YAML takes for a number is also tried as
            the word it is (network.patches=2).

    Raises:
        RecipeError: unreadable, an unknown key, a value of the wrong type or out of range.
    """
    texts, tree = dict(changes or {}), _read_tree(path)
    if isinstance(wrong := _attempt(tree, {}), str):
        raise RecipeError(f"{path}: {wrong}; {KEYS}")
    values = {key: _as_wanted(tree, key, text) for key, text in texts.items()}
    result = _attempt(tree, values)
    if isinstance(result, TrainConfig):
        return result
    alone = [key for key in texts if _attempt(tree, {key: values[key]}) == result]
    raise RecipeError(f"{' '.join(f'--set {key}={texts[key]}' for key in alone[:1] or texts)}: {result}; {KEYS}")


def _read_tree(path: Path) -> dict[str, Any]:
    try:
        return msgspec.convert(msgspec.yaml.decode(path.read_bytes()) or {}, dict[str, Any])
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}; recipes that are there: configs/train/*.yaml") from error
    except msgspec.MsgspecError as error:
        raise RecipeError(f"{path}: {error}") from error


def _as_wanted(tree: Mapping[str, Any], key: str, text: str) -> object:
    """A value as YAML reads it or, where that alone is wanted, as the word that it is."""
    try:
        value = msgspec.yaml.decode(text.encode())
    except msgspec.MsgspecError:
        return text
    read, word = (isinstance(_attempt(tree, {key: one}), TrainConfig) for one in (value, text))
    return text if word and not read else value


def _attempt(tree: Mapping[str, Any], values: Mapping[str, Any]) -> TrainConfig | str:
    """The recipe, or what is wrong with it; not strict, so that 1e-3, which YAML takes for a word, is a number."""
    try:
        return msgspec.convert(_changed(tree, values), TrainConfig, strict=False)
    except msgspec.ValidationError as error:
        return str(error)


def _changed(tree: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a recipe's tree with the values of dotted keys set; what is missing on the way is made."""
    changed = copy.deepcopy({"network": {}, **tree})
    for key, value in values.items():
        *parents, last = key.split(".")
        section = changed
        for parent in parents:
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                raise RecipeError(f"--set {key}={value}: {parent} is no section; {KEYS}")
        section[last] = value
    if isinstance(changed["network"], dict):
        changed["network"].setdefault("compact", 0)
    return changed


def parse_changes(arguments: Sequence[str]) -> dict[str, str]:
    """["network.width=0.25"] -> {"network.width": "0.25"}, for `read_recipe`.

    Raises:
        RecipeError: one without a value.
    """
    if wrong := [text for text in arguments if "=" not in text]:
        raise RecipeError(f"--set {wrong[0]}: expected KEY=VALUE, as in --set network.width=0.25")
    return dict(text.split("=", 1) for text in arguments)


def learning_rate(config: TrainConfig, epoch: float) -> float:
    """Linear warm-up, then what the schedule says; epoch counts from 0 and may be fractional."""
    if epoch < config.warmup_epochs:
        return config.lr * (config.warmup_from + (1 - config.warmup_from) * epoch / config.warmup_epochs)
    if config.schedule == "step":
        return config.lr * config.gamma ** sum(epoch >= milestone for milestone in config.milestones)
    if config.schedule == "flat":
        return config.lr
    fall = min((epoch - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1e-9), 1.0)
    return config.final_lr + (config.lr - config.final_lr) * (1 + math.cos(math.pi * fall)) / 2
