"""From a name to a network: which source has it, and the network with its weights."""

import logging
from contextlib import suppress
from pathlib import Path

from l2caf.errors import ExtraMissingError, ModelError, nearest
from l2caf.models.card import ModelCard
from l2caf.models.source import SOURCES, LoadedModel, Wanted
from l2caf.models.weight_files import read_weights

logger = logging.getLogger("l2caf")


def load(
    name: str, *, weights: Path | None = None, card: ModelCard | None = None, pretrained: bool = True
) -> LoadedModel:
    """Load a network with its weights.

    Args:
        name: one of

            - `resnet50`: torchvision's network of that name, or else timm's;
            - `torchvision/resnet50`, `timm/mobilenetv2_100`: the network of one library;
            - `timm/hf-hub:OWNER/NAME`, `timm/local-dir:FOLDER`: timm's networks of the Hugging Face hub;
            - `hf/OWNER/NAME`, `hf/FOLDER`: a network of Hugging Face transformers;
            - `embedded/digits`: the network whose weights this package carries;
            - `wsol/vgg16-adl`: a network for localisation, whose weights `l2caf train wsol` makes;
            - `package.module:constructor`: your own code, a class or function that returns a network;
            - `retrieval/` before any of these: an `Embedder` on that network's trunk. It takes the arguments
              `dimensions` and `normalize`. Its linear layer is random (seed 0) if the weights are the trunk's.
        weights: a .safetensors or .pth file, or a folder of the Hugging Face hub; None for the library's own download
            and cache.
        card: what you know about the network. What it does not say is taken from the card beside the weights, then
            from the library.
        pretrained: whether a network without a weight file gets its library's weights; False leaves its weights
            random (seed 0).

    Returns:
        The network in eval mode.

    Raises:
        ModelError: if there is no such network, or its constructor refuses the arguments.
        WeightsError: if the weights cannot be had, read or fitted.
        ExtraMissingError: if the network's library is not installed.
    """
    card = card or ModelCard()
    if weights is not None:
        card = card.over(ModelCard.beside(weights))
    prefix, short = resolve(name)
    file = None if weights is None else read_weights(weights)
    return SOURCES[prefix].load(short, Wanted(card, file, pretrained))


def names() -> list[str]:
    """Every network that `load` knows, with three examples for `retrieval/`.

    Returns:
        Full names, source by source. A source whose library is not installed is left out; a warning on the log names
        the extra that installs it.
    """
    known, missing = _listed()
    for sentence in missing:
        logger.warning(sentence)
    return known


def resolve(name: str) -> tuple[str, str]:
    """Find the source that has a network.

    Args:
        name: the network, with or without the prefix of its source.

    Returns:
        The prefix and the source's own name for the network, such as `("timm", "mobilenetv2_100")` or
        `("retrieval", "timm/mobilenetv2_100")`.

    Raises:
        ModelError: if no source has the network; the message names the nearest real ones.
        ExtraMissingError: if the name begins with the prefix of a source whose library is not installed.
    """
    prefix, slash, short = name.partition("/")
    if slash and prefix in SOURCES:
        found = SOURCES[prefix].find(short)
        if found is not None:
            return prefix, found
    else:
        for prefix, source in SOURCES.items():
            with suppress(ExtraMissingError):  # the error below names the extra, if no other source has the network
                found = None if source.needs_prefix else source.find(name)
                if found is not None:
                    return prefix, found
    known, missing = _listed()
    pool = known if slash else sorted({other.partition("/")[2] for other in known})
    raise ModelError(
        "; ".join([f"unknown network {name!r}{nearest(name, pool)} (`l2caf models` lists them)", *missing])
    )


def _listed() -> tuple[list[str], list[str]]:
    """Full names of the networks of every source, and a sentence for each source whose library is not installed."""
    known: list[str] = []
    missing = []
    for prefix, source in SOURCES.items():
        try:
            known += [f"{prefix}/{name}" for name in source.names()]
        except ExtraMissingError as error:
            missing.append(f"the networks of {prefix} are not listed: {error}")
    return known, missing
