"""Where networks come from: one table from prefix to source. A new source of networks is one file that enters itself.

    @enter
    class MyHub(Library):
        prefix = "myhub"
        ...

makes `myhub/NAME` a network for `load` and for `--model` as soon as the file is imported.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

import torch
from torch import nn

from l2caf import storage
from l2caf.errors import ModelError
from l2caf.models.card import ModelCard
from l2caf.models.weight_files import WeightFile
from l2caf.registry import Registry

IMAGENET: Final = ModelCard(size=(224, 224), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="squash")


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network ready to be explained.

    Attributes:
        model: the network in eval mode.
        name: the full name of the network, such as `timm/mobilenetv2_100`.
        card: how to feed the network; every field is known except, for some networks, the labels.
        has_random_head: whether the last layer is random because no weights of it were given.
    """

    model: nn.Module
    name: str
    card: ModelCard
    has_random_head: bool = False

    @property
    def device(self) -> torch.device:
        """The device of the network's first parameter; the CPU if the network has no parameters."""
        parameter = next(self.model.parameters(), None)
        return torch.device("cpu") if parameter is None else parameter.device

    @property
    def fingerprint(self) -> str:
        """A short digest of the network's weights as they are now."""
        return storage.digest(
            tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
            for tensor in self.model.state_dict().values()
            if tensor.numel()
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a user asks of a network beside its name.

    Attributes:
        card: what the user says about the network; `card.arguments` are keywords for its constructor.
        file: the weight file to load; None where the user gives none.
        pretrained: whether a network without a weight file gets the weights that its source publishes.
    """

    card: ModelCard
    file: WeightFile | None = None
    pretrained: bool = True

    @property
    def published(self) -> bool:
        """Whether the network gets the weights that its source publishes."""
        return self.file is None and self.pretrained


class Source(ABC):
    """Where networks come from.

    Attributes:
        prefix: what comes before the slash in the full name of a network, such as `timm`.
        needs_prefix: whether a user has to write the prefix. A name without a prefix is looked for in every other
            source, in the order in which they were entered.
    """

    prefix: ClassVar[str]
    needs_prefix: ClassVar[bool] = False

    @abstractmethod
    def names(self) -> Sequence[str]:
        """The networks that `l2caf models` lists for this source, without the prefix."""

    def find(self, name: str) -> str | None:
        """The source's own name of the network that a user calls `name`; None if it has no such network."""
        return name if name in self.names() else None

    @abstractmethod
    def load(self, name: str, wanted: Wanted) -> LoadedModel:
        """Make a network with its weights.

        Args:
            name: the network, as `find` returns it.
            wanted: what the user asks of the network.

        Returns:
            The network in eval mode; random weights are drawn with seed 0.

        Raises:
            ModelError: if the constructor refuses the keywords.
            WeightsError: if the weights cannot be had, or do not fit.
        """


class Library(Source):
    """A source that makes each network by calling one constructor.

    Attributes:
        loads_files: whether `build` also loads the weight file, as it does for libraries whose files are not written
            as their networks are. Otherwise the file is loaded by the names of its tensors when the network is built.
    """

    loads_files: ClassVar[bool] = False

    @abstractmethod
    def build(self, name: str, wanted: Wanted) -> tuple[nn.Module, ModelCard]:
        """Make a network, without the weights of a file unless `loads_files` says so.

        Args:
            name: the network, as `find` returns it.
            wanted: the constructor's keywords, whether published weights are wanted (`wanted.published`), and the
                weight file, whose shapes may give the number of classes.

        Returns:
            The network, and what the source knows about feeding it.

        Raises:
            ModelError: if the constructor refuses the keywords.
            WeightsError: if the published weights cannot be had, or a file does not fit.
        """

    def load(self, name: str, wanted: Wanted) -> LoadedModel:
        """Build a network and load its weight file; what nobody says about feeding it is what is usual for ImageNet."""
        full_name = f"{self.prefix}/{name}"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, own = self.build(name, wanted)
        if wanted.file is not None and not self.loads_files:
            wanted.file.fit(model, full_name)
        return LoadedModel(model.eval(), full_name, wanted.card.over(own).over(IMAGENET))


SOURCES: Final = Registry[Source]("source of networks", ModelError)
S = TypeVar("S", bound=type[Source])


def enter(source: S) -> S:
    """Decorator that enters a source in `SOURCES` under its prefix."""
    SOURCES.register(source.prefix)(source())
    return source
