"""Embedding networks on the trunk of any other network: `retrieval/resnet50`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import torch

from l2caf.errors import ModelError
from l2caf.models.resolve import resolve
from l2caf.models.retrieval import embedder_on
from l2caf.models.source import SOURCES, LoadedModel, Source, Wanted, enter

EMBEDDING: Final = "projection.weight"  # the tensor that tells a whole embedding network's weights from a classifier's
OPTIONS: Final[dict[str, type]] = {"dimensions": int, "normalize": bool}


@enter
class Retrieval(Source):
    """An `Embedder`; its arguments are `dimensions`, `normalize` and those of the other network."""

    prefix = "retrieval"
    needs_prefix = True

    def names(self) -> Sequence[str]:
        """Three examples: the prefix goes before any network."""
        return ("digits", "googlenet", "resnet50")

    def find(self, name: str) -> str | None:
        """The full name of the other network; raises `ModelError` if there is none, or it is an embedding itself."""
        prefix, short = resolve(name)
        if prefix == self.prefix:
            raise ModelError(f"unknown network 'retrieval/{name}'; expected one 'retrieval/' before a network's name")
        return f"{prefix}/{short}"

    def load(self, name: str, wanted: Wanted) -> LoadedModel:
        """Make an embedding network; a weight file holds all of it, or only the classifier that gives the trunk."""
        prefix, _, short = name.partition("/")
        options, arguments = _options(wanted.card.arguments)
        trunk = replace(wanted, card=replace(wanted.card, arguments=arguments))
        whole = wanted.file if wanted.file is not None and EMBEDDING in wanted.file.tensors else None
        if whole is not None:
            options.setdefault("dimensions", len(whole.tensors[EMBEDDING]))
            trunk = replace(trunk, file=None, pretrained=False)
        classifier = SOURCES[prefix].load(short, trunk)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = embedder_on(classifier.model, classifier.card.size or (224, 224), **options)
        if whole is not None:
            whole.fit(model, f"{self.prefix}/{name}")
        card = replace(classifier.card, arguments=wanted.card.arguments, labels=wanted.card.labels)
        return LoadedModel(model, f"{self.prefix}/{name}", card, has_random_head=whole is None)


def _options(arguments: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, object]]:
    """The arguments of the embedding, and those of the other network's constructor."""
    options = {name: value for name, value in arguments.items() if name in OPTIONS}
    for name, value in options.items():
        if type(value) is not OPTIONS[name]:
            raise ModelError(f"argument {name}={value!r} is not understood; expected {OPTIONS[name].__name__}")
    return options, {name: value for name, value in arguments.items() if name not in options}
