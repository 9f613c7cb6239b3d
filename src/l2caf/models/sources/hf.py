"""Networks of Hugging Face transformers, from the hub or from a folder that `save_pretrained` wrote."""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from torch import Tensor, nn

from l2caf.errors import ModelError, WeightsError
from l2caf.extras import require
from l2caf.models.card import ModelCard
from l2caf.models.hub import is_reachable
from l2caf.models.processor import Processor, card_of
from l2caf.models.source import Library, Wanted, enter
from l2caf.models.sources.building import no_weights
from l2caf.torchvision_compat import import_torchvision

logger = logging.getLogger("l2caf")

EXPLAINED: Final = ("logits", "pooler_output", "last_hidden_state")  # of what a network returns, the first that it has
Config = Any  # of transformers, whose classes differ in what they hold
Kind = Any  # a class of transformers' networks
WHERE: Final = ("trust_remote_code", "local_files_only")
A_PATH: Final = (".", "/", "~")  # what begins so is a folder and no name on the hub


def import_transformers() -> ModuleType:
    """transformers, which imports torchvision, whose operators may have to be declared first."""
    import_torchvision()
    return require("transformers", extra="hf")


@enter
class HuggingFace(Library):
    """`hf/OWNER/NAME` on the hub or in its cache, or `hf/FOLDER`; `--model-arg` sets values of its configuration.

    The network is of the class that its configuration names. What it returns is one tensor, its `logits` where it has
    some, so that commands explain it as any other network; `output_to_explain` is the hook that picks it.
    """

    prefix = "hf"
    needs_prefix = True
    loads_files = True

    def names(self) -> Sequence[str]:
        """None: the hub has too many."""
        return ()

    def find(self, name: str) -> str | None:
        """Any name; whether the hub has it is seen when it is loaded."""
        return name or None

    def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
        """The network, and the card that its image processor and its configuration give."""
        transformers = import_transformers()
        place, where = _place(name), {"trust_remote_code": False, "local_files_only": True}
        if not Path(place).is_dir():
            where["local_files_only"] = not is_reachable(extra="hf")
        with _quiet(transformers):
            config, arguments = _config(transformers, name, place, {**wanted.card.arguments, **where})
            kind = _class_of(transformers, config)
            if wanted.published:
                model = _loaded(kind, name, (place,), {**arguments, **where, "config": config})
            else:
                model = _unpublished(kind, name, wanted, config, arguments)
            processor = _processor(transformers, name, place, where)
        model.float().register_forward_hook(output_to_explain)
        card = ModelCard() if processor is None else card_of(processor, f"hf/{name}")
        return model, card.over(ModelCard(size=_size(config), labels=_labels(config)))


def output_to_explain(_module: nn.Module, _inputs: object, output: Any) -> Any:
    """A forward hook: of a network's outputs the one tensor that is explained; others are left as they are."""
    parts = (getattr(output, name, None) for name in EXPLAINED)
    return next((part for part in parts if isinstance(part, Tensor)), output)


def _place(name: str) -> str:
    """The folder or the name on the hub."""
    folder = Path(name).expanduser()
    if name.startswith(A_PATH) and not folder.is_dir():
        raise ModelError(f"folder {name} does not exist; expected one that `save_pretrained` wrote, or OWNER/NAME")
    return str(folder) if folder.is_dir() else name


def _config(
    transformers: ModuleType, name: str, place: str, arguments: Mapping[str, object]
) -> tuple[Config, dict[str, object]]:
    """The configuration, and those arguments that are none of its values but, perhaps, of the constructor."""
    try:
        config, others = transformers.AutoConfig.from_pretrained(place, **arguments, return_unused_kwargs=True)
    except OSError as error:
        raise WeightsError(_not_here(name, place, error)) from error
    except (ValueError, TypeError, LookupError) as error:
        raise ModelError(f"network 'hf/{name}' is none of transformers: {_first_line(error)}") from error
    return config, {key: value for key, value in others.items() if key in arguments and key not in WHERE}


def _class_of(transformers: ModuleType, config: Config) -> Kind:
    """The class that the configuration names; without a name, a classifier of pictures, or the bare network."""
    for architecture in config.architectures or ():
        if hasattr(transformers, architecture):
            return getattr(transformers, architecture)
    for mapping in (transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, transformers.MODEL_MAPPING):
        if type(config) in mapping:
            return mapping[type(config)]
    raise ModelError(f"transformers has no network for a {type(config).__name__}")


def _built(kind: Kind, name: str, config: Config, arguments: Mapping[str, object]) -> nn.Module:
    try:
        return kind(config, **arguments)
    except (TypeError, ValueError) as error:
        raise ModelError(f"network 'hf/{name}' does not take these arguments: {error}") from error


def _loaded(kind: Kind, name: str, place: tuple[str | None], asked: Mapping[str, object]) -> nn.Module:
    """The network with weights for each of its tensors."""
    try:
        model, told = kind.from_pretrained(*place, **asked, output_loading_info=True, ignore_mismatched_sizes=True)
    except OSError as error:
        raise WeightsError(_not_here(name, str(place[0]), error)) from error
    except TypeError as error:
        raise ModelError(f"network 'hf/{name}' does not take these arguments: {error}") from error
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"the weights of hf/{name} do not fit it: {_first_line(error)}") from error
    shaped = [one[0] for one in told["mismatched_keys"]]  # the name, and both shapes
    missing = sorted(set(told["missing_keys"]) - set(shaped))
    if missing or shaped:
        raise WeightsError(
            f"weights of hf/{name} are not those of this {kind.__name__}: {len(missing)} tensors missing, "
            f"{len(shaped)} of another shape (such as {(shaped or missing)[0]!r}), which would be random; leave out "
            "what they lack (such as --model-arg add_pooling_layer=false), or give --weights that have it"
        )
    return model


def _unpublished(kind: Kind, name: str, wanted: Wanted, config: Config, arguments: Mapping[str, object]) -> nn.Module:
    """The network with random weights, or with those of a file and as many classes, by transformers' present names."""
    model, file = _built(kind, name, config, arguments), wanted.file
    if file is None:
        return model
    n_classes = file.n_classes(model)
    if n_classes is not None and "num_labels" not in wanted.card.arguments:
        config.num_labels = n_classes
        model = _built(kind, name, config, arguments)
    if file.fits(model):
        file.fit(model, f"hf/{name}")
        return model
    state = dict(file.state_for(model))
    return _loaded(kind, name, (None,), {**arguments, "config": config, "state_dict": state})


def _processor(transformers: ModuleType, name: str, place: str, where: Mapping[str, object]) -> Processor | None:
    try:
        return transformers.AutoImageProcessor.from_pretrained(place, **where)
    except (OSError, ValueError, ImportError, LookupError, TypeError) as error:
        logger.warning(
            "hf/%s has no image processor (%s): pictures are squashed to its size and normalised as is usual for "
            "ImageNet, unless size, mean, std and fit are given",
            name, _first_line(error),
        )  # fmt: skip
        return None


def _size(config: Config) -> tuple[int, int] | None:
    """The size of the input that a configuration names."""
    match getattr(config, "image_size", None):
        case int(side):
            return (side, side)
        case [int(height), int(width)]:
            return (height, width)
    return None


def _labels(config: Config) -> tuple[str, ...] | None:
    """Names of the outputs, unless they are transformers' own `LABEL_0`, ... for outputs that nobody named."""
    named: Mapping[int, str] = getattr(config, "id2label", None) or {}
    labels = [named.get(number, "") for number in range(len(named))]
    if not all(labels) or all(re.fullmatch(r"LABEL_\d+", label) for label in labels):
        return None
    return tuple(labels)


def _not_here(name: str, place: str, error: Exception) -> str:
    if Path(place).is_dir():
        return f"hf/{name} cannot be loaded: {_first_line(error)}; expected what `save_pretrained` wrote"
    return no_weights(f"hf/{name}", Path("~/.cache/huggingface"))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Keep transformers' notes and bars out of a command's output while a network is loaded."""
    log = transformers.utils.logging
    level, has_bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if has_bars:
            log.enable_progress_bar()
