"""A network by name: torchvision, timm, the embedded one, or one for localisation, with weights and model card."""

import logging
import pickle
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from l2caf import storage
from l2caf.errors import ModelError, WeightsError, nearest
from l2caf.models import wsol
from l2caf.models.card import ModelCard
from l2caf.models.embedded import DIGITS_CARD, digits
from l2caf.models.python import from_python
from l2caf.models.retrieval import embedder_on
from l2caf.torchvision_compat import import_torchvision

CONNECT_S: Final = 3.0
WRAPPERS: Final = ("state_dict", "model_state_dict", "model", "model_ema")
PREFIXES: Final = ("module.", "_orig_mod.")
EMBEDDED: Final = {"digits": (digits, DIGITS_CARD)}
CLIP_FRAMES: Final = {"s3d": 128, "swin3d_t": 32, "swin3d_s": 32, "swin3d_b": 32}  # the others were trained on 16
TRUNKS: Final = ("digits", "googlenet", "resnet50")
EMBEDDING: Final = "projection.weight"
EMBEDDING_OPTIONS: Final[dict[str, type]] = {"dimensions": int, "normalize": bool}
ASK_HOW_TO_START: Final = (
    "googlenet",
    "inception_v3",
)  # torchvision warns unless told; its own draw vanishes on the way
IMAGENET: Final = ModelCard(size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="squash")

logging.getLogger("timm").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network ready to be explained.

    Attributes:
        model: in eval mode.
        name: where it came from, such as `timm/mobilenetv2_100`.
        card: complete but for labels, which may be unknown.
        has_random_head: the last layer was drawn, as no weights of it were given.
    """

    model: nn.Module
    name: str
    card: ModelCard
    has_random_head: bool = False

    @property
    def device(self) -> torch.device:
        """Where the network is; the CPU if it has no parameters."""
        parameter = next(self.model.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def fingerprint(self) -> str:
        """A short name for the weights as they are now."""
        return storage.digest(
            tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
            for tensor in self.model.state_dict().values()
            if tensor.numel()
        )


def load(
    name: str, *, weights: Path | None = None, card: ModelCard | None = None, pretrained: bool = True
) -> LoadedModel:
    """A network with weights.

    Args:
        name: `resnet50` (torchvision, else timm), `torchvision/resnet50`, `timm/mobilenetv2_100`,
            `embedded/digits`, the one that comes with its weights in this package, or `wsol/vgg16-adl`, whose weights
            `l2caf train wsol` makes, or `package.module:constructor`, your own
            code. `retrieval/` before any of them makes an `Embedder` of its trunk, with the
            arguments `dimensions` and `normalize`; its linear layer is random (seed 0) where the weights are the
            trunk's.
        weights: a .safetensors or .pth file; None for the library's own download and cache.
        pretrained: False leaves the weights random where no file is given (seed 0).
        card: what is known of the network; completed from the card beside the weights, then from the library.

    Returns:
        The network in eval mode.

    Raises:
        ModelError: if there is no such network, or its constructor refuses the arguments.
        WeightsError: if weights cannot be had, read or fitted.
    """
    card = card or ModelCard()
    if weights is not None:
        card = card.over(ModelCard.beside(weights))
    source, short = resolve(name)
    state = None if weights is None else read_weights(weights)
    if source == "retrieval":
        return _embedder(short, weights, state, card, pretrained=pretrained)
    return _network(f"{source}/{short}", weights, state, card, pretrained=pretrained)


def _network(
    name: str, weights: Path | None, state: dict[str, Tensor] | None, card: ModelCard, *, pretrained: bool
) -> LoadedModel:
    source, _, short = name.partition("/")
    sources = {
        "torchvision": _from_torchvision, "timm": _from_timm, "embedded": _from_package, "wsol": _from_wsol,
        "python": _from_code,
    }  # fmt: skip
    build = sources[source]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, own = build(short, dict(card.arguments), {} if state is None and not pretrained else state)
    if state is not None:
        _fit(model, state, name, weights)
    return LoadedModel(model.eval(), name, card.over(own).over(IMAGENET))


def _embedder(
    trunk: str, weights: Path | None, state: dict[str, Tensor] | None, card: ModelCard, *, pretrained: bool
) -> LoadedModel:
    """An embedding network; weights are those of all of it, or of the classifier that gives the trunk."""
    options, arguments = _embedding_options(card.arguments)
    whole = state if state is not None and EMBEDDING in state else None
    if whole is not None:
        options.setdefault("dimensions", len(whole[EMBEDDING]))
        state, pretrained = None, False
    inner = replace(card, arguments=arguments)
    loaded = _network(trunk, weights, state, inner, pretrained=pretrained)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = embedder_on(loaded.model, loaded.card.size or (224, 224), **options)
    if whole is not None:
        _fit(model, whole, f"retrieval/{trunk}", weights)
    completed = replace(loaded.card, arguments=card.arguments, labels=card.labels)
    return LoadedModel(model, f"retrieval/{trunk}", completed, has_random_head=whole is None)


def _embedding_options(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the embedding, and those of the trunk's constructor."""
    options = {key: value for key, value in arguments.items() if key in EMBEDDING_OPTIONS}
    for key, value in options.items():
        if type(value) is not EMBEDDING_OPTIONS[key]:
            raise ModelError(f"argument {key}={value!r} is not understood; expected {EMBEDDING_OPTIONS[key].__name__}")
    return options, {key: value for key, value in arguments.items() if key not in options}


def names() -> list[str]:
    """Every network that `load` knows, and three examples of `retrieval/`, which goes before any of them."""
    torchvision = import_torchvision()
    import timm  # noqa: PLC0415  (imports torchvision, which may need its operators declared first)

    models = torchvision.models
    own = [f"torchvision/{name}" for module in (models, models.video) for name in models.list_models(module=module)]
    ours = [*(f"embedded/{name}" for name in EMBEDDED), *(f"wsol/{name}" for name in wsol.names())]
    return [
        *ours,
        *(f"retrieval/{name}" for name in TRUNKS),
        *own,
        *(f"timm/{name}" for name in timm.list_models()),
    ]


def resolve(name: str) -> tuple[str, str]:
    """Library and short name of a network.

    Args:
        name: with or without the library.

    Returns:
        Such as `("timm", "mobilenetv2_100")`, or `("retrieval", "timm/mobilenetv2_100")`.

    Raises:
        ModelError: if neither library has it; a misspelt name gets the nearest real ones.
    """
    if name.startswith("retrieval/"):
        source, short = resolve(name.removeprefix("retrieval/"))
        if source == "retrieval":
            raise ModelError(f"unknown network {name!r}; expected one 'retrieval/' before a network's name")
        return "retrieval", f"{source}/{short}"
    if ":" in name:
        return "python", name.removeprefix("python/")
    known = names()
    for candidate in (
        name,
        f"embedded/{name}",
        f"wsol/{name}",
        f"torchvision/{name}",
        f"timm/{name}",
        f"timm/{name.removeprefix('timm/').split('.')[0]}",
    ):
        if candidate in known:
            source, _, short = candidate.partition("/")
            return source, name.removeprefix("timm/") if source == "timm" else short
    pool = known if "/" in name else sorted({other.partition("/")[2] for other in known})
    raise ModelError(f"unknown network {name!r}{nearest(name, pool)} (`l2caf models` lists them)")


def _from_package(name: str, arguments: dict[str, Any], state: dict[str, Tensor] | None) -> tuple[nn.Module, ModelCard]:
    constructor, card = EMBEDDED[name]
    if arguments:
        raise ModelError(f"network 'embedded/{name}' takes no arguments; got {', '.join(arguments)}")
    return constructor(pretrained=state is None), card


def _from_code(name: str, arguments: dict[str, Any], state: dict[str, Tensor] | None) -> tuple[nn.Module, ModelCard]:
    del state  # without a file its weights are what its own code makes of them
    return from_python(name, arguments), ModelCard()


def _from_wsol(name: str, arguments: dict[str, Any], state: dict[str, Tensor] | None) -> tuple[nn.Module, ModelCard]:
    if state is None:
        raise WeightsError(
            f"no weights of wsol/{name} are published; train it with `l2caf train wsol` and give --weights FILE"
        )
    model, _ = _built_for(wsol.build, name, arguments, state)
    return model, wsol.card(name)


def _from_torchvision(
    name: str, arguments: dict[str, Any], state: dict[str, Tensor] | None
) -> tuple[nn.Module, ModelCard]:
    models = import_torchvision().models
    chosen = models.get_model_weights(name).DEFAULT
    preset = chosen.transforms()
    side = preset.crop_size[0]
    card = ModelCard(
        size=(side, side), mean=tuple(preset.mean), std=tuple(preset.std), labels=tuple(chosen.meta["categories"]),
        frames=CLIP_FRAMES.get(name, 16) if name in models.list_models(module=models.video) else None,
    )  # fmt: skip
    if state is not None:
        start = {"init_weights": False} if name in ASK_HOW_TO_START else {}
        model, n_classes = _built_for(models.get_model, name, start | arguments | {"weights": None}, state)
        return model, card if n_classes in (None, len(card.labels or ())) else replace(card, labels=None)
    try:
        return _built(models.get_model, name, arguments | {"weights": chosen}), card
    except OSError as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise WeightsError(_no_weights(f"torchvision/{name}", folder / Path(chosen.url).name)) from error


def _from_timm(name: str, arguments: dict[str, Any], state: dict[str, Tensor] | None) -> tuple[nn.Module, ModelCard]:
    import_torchvision()
    import timm  # noqa: PLC0415
    from timm.data.config import resolve_data_config  # noqa: PLC0415

    if state is None:
        try:
            with _hub_answers_or_is_offline():
                model = _built(timm.create_model, name, arguments | {"pretrained": True})
        except (OSError, RuntimeError) as error:
            raise WeightsError(_no_weights(f"timm/{name}", Path("~/.cache/huggingface"))) from error
    else:
        model, _ = _built_for(timm.create_model, name, arguments | {"pretrained": False}, state)
    config = resolve_data_config({}, model=model)
    _, height, width = config["input_size"]
    return model, ModelCard(size=(height, width), mean=tuple(config["mean"]), std=tuple(config["std"]))


@contextmanager
def _hub_answers_or_is_offline() -> Iterator[None]:
    """Spare the user a minute of retries: where the hub cannot be reached, only its cache is asked."""
    from huggingface_hub import constants  # noqa: PLC0415  (comes with timm)

    before = constants.HF_HUB_OFFLINE
    try:
        with socket.create_connection((urlsplit(constants.ENDPOINT).hostname or "", 443), timeout=CONNECT_S):
            pass
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _built(constructor: Any, name: str, arguments: dict[str, Any]) -> nn.Module:
    try:
        return constructor(name, **arguments)
    except TypeError as error:
        raise ModelError(f"network {name!r} does not take these arguments: {error}") from error


def _no_weights(name: str, place: Path) -> str:
    return (
        f"the weights of {name} are not here and cannot be downloaded; either give a file with --weights FILE, "
        f"or run once on a connected machine and copy its cache to {place}"
    )


def _built_for(
    constructor: Any, name: str, arguments: dict[str, Any], state: dict[str, Tensor]
) -> tuple[nn.Module, int | None]:
    """A network with as many classes as its weight file, and that number where it is not the default."""
    # Where only the last layer's shapes differ, the file's first axis there is the number of classes.
    model = _built(constructor, name, arguments)
    own = model.state_dict()
    shaped = [key for key in own if key in state and own[key].shape != state[key].shape]
    if not shaped or "num_classes" in arguments or any(state[key].dim() == 0 for key in shaped):
        return model, arguments.get("num_classes")
    numbers = {state[key].shape[0] for key in shaped}
    if len(numbers) != 1:
        return model, None
    n_classes = numbers.pop()
    return _built(constructor, name, arguments | {"num_classes": n_classes}), n_classes


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weight file, floating ones as float32.

    Args:
        path: .safetensors, or .pth / .pt / .bin read with `weights_only=True`.

    Returns:
        A state dict, unwrapped from common containers and prefixes.

    Raises:
        WeightsError: if the file is missing, damaged, holds code, or holds no tensors.
    """
    if not path.is_file():
        raise WeightsError(f"weights {path} do not exist")
    try:
        raw: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"weights {path} cannot be read: {reason}") from error
    for wrapper in WRAPPERS:
        if isinstance(raw, Mapping) and isinstance(raw.get(wrapper), Mapping):
            raw = raw[wrapper]
    state = (
        {name: value for name, value in raw.items() if isinstance(value, Tensor)} if isinstance(raw, Mapping) else {}
    )
    if not state:
        raise WeightsError(f"weights {path} hold no named tensors")
    return {_bare(name): value.float() if value.is_floating_point() else value for name, value in state.items()}


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _fit(model: nn.Module, state: dict[str, Tensor], name: str, path: Path | None) -> None:
    own = model.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    extra = [key for key in state if key not in own]
    shaped = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing or extra or shaped:
        first = (shaped or missing or extra)[0]
        raise WeightsError(
            f"weights {path} are not those of {name}: {len(missing)} tensors missing, {len(extra)} unknown, "
            f"{len(shaped)} of another shape (such as {first!r})"
        )
    model.load_state_dict(state, strict=False)


def parse_arguments(pairs: list[str]) -> dict[str, Any]:
    """Constructor keywords from text.

    Args:
        pairs: such as `pad_type=same`, `num_classes=1001`.

    Returns:
        Integers, floats and booleans as such, everything else as text.

    Raises:
        ModelError: if a pair has no `=`.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key.isidentifier():
            raise ModelError(f"argument {pair!r} is not understood; expected NAME=VALUE")
        parsed[key] = _value(text)
    return parsed


def _value(text: str) -> Any:
    constants = {"true": True, "false": False, "none": None}
    if text.lower() in constants:
        return constants[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
