"""A network to try, and how a user would call it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Output = str | int | Callable[[Any], Tensor] | None


def as_it_is(pictures: Tensor) -> Tensor:
    """The pictures are all that the network takes."""
    return pictures


def as_pixel_values(pictures: Tensor) -> dict[str, Tensor]:
    """The pictures under the name that transformers has for them."""
    return {"pixel_values": pictures}


@dataclass(frozen=True)
class Subject:
    """A network to try.

    Attributes:
        name: with its library in front.
        build: makes it.
        size: shape of one picture, or of one clip.
        output: which part of what it returns is explained, as `L2CAF(output=...)` takes it.
        feed: from pictures (b, *size) to what the network is called with: a tensor, or a mapping of keywords.
        axes: which axes of `size` are of time and space, time first; None for all but the first.
        seconds: the longest that it may take.
    """

    name: str
    build: Callable[[], nn.Module]
    size: tuple[int, ...] = (3, 224, 224)
    output: Output = None
    feed: Callable[[Tensor], Any] = as_it_is
    axes: tuple[int, ...] | None = None
    seconds: int = 600

    @property
    def picture_axes(self) -> tuple[int, ...]:
        """`axes`, or what stands for it."""
        return tuple(range(1, len(self.size))) if self.axes is None else self.axes

    def pictures(self, n: int) -> Tensor:
        """Random pictures (n, *size), the same in every run."""
        return torch.randn(n, *self.size, generator=torch.Generator().manual_seed(2))

    def network(self) -> nn.Module:
        """Build it with weights from a fixed seed.

        Returns:
            The network in eval mode. What its library initialises to zero is made random too: a network that says
            nothing has nothing to look at.
        """
        torch.manual_seed(0)
        model = self.build()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.is_floating_point() and not bool(parameter.any()):
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
        return model.eval()


def call(model: nn.Module, inputs: Any) -> Any:
    """What the network answers."""
    return model(**inputs) if isinstance(inputs, dict) else model(inputs)


def read(answer: Any, output: Output) -> Tensor:
    """The part of an answer that is explained, (b, n)."""
    if callable(output):
        answer = output(answer)
    elif output is not None:
        answer = getattr(answer, output) if isinstance(output, str) and hasattr(answer, output) else answer[output]
    return answer.flatten(1) if answer.dim() > 1 else answer.unsqueeze(1)
