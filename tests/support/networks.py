"""Small networks with the traits that matter, all with fixed random weights."""

import torch
from torch import Tensor, nn


def seeded(network: nn.Module, seed: int = 0) -> nn.Module:
    """The network with every parameter and buffer drawn from a seed, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network.eval()


def gap(classes: int = 6, channels: int = 8) -> nn.Module:
    """Convolution, ReLU, global average pooling, linear: an affine tail."""
    trunk = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU())
    return seeded(nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)))


def fully_connected(classes: int = 6) -> nn.Module:
    """A tail with a hidden ReLU layer: not affine."""
    trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.ReLU(inplace=True))
    head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 16, 32), nn.ReLU(inplace=True), nn.Linear(32, classes))
    return seeded(nn.Sequential(trunk, head))


class Flattening(nn.Module):
    """An affine tail that weights every position differently: no global pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.ReLU())
        self.head = nn.Linear(4 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.trunk(x).flatten(1))


class FunctionalInPlace(nn.Module):
    """DenseNet's ending: a functional in-place ReLU on the layer's own output."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, 2, 1)
        self.classifier = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.nn.functional.relu(self.features(x), inplace=True)
        return self.classifier(y.mean((2, 3)))


class Residual(nn.Module):
    """A skip connection over the layer, added in place and then written into."""

    def __init__(self) -> None:
        super().__init__()
        self.skip = nn.Conv2d(3, 8, 3, 2, 1)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(inplace=True))
        self.body = nn.Conv2d(8, 8, 3, 1, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        identity = self.skip(x)
        out = self.body(self.stem(x))
        out += identity
        identity += 1  # writes into what the recording may have kept
        out = self.relu(out + 0.1 * identity)
        return self.fc(out.mean((2, 3)))


class Between(nn.Module):
    """Work between modules, before the layer, that is needed after it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.body = nn.Conv2d(8, 8, 3, 1, 1)
        self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        skip = (self.stem(x) * self.scale).tanh()
        return self.fc((self.body(skip) + skip).mean((2, 3)))


class ClassToken(nn.Module):
    """A small vision transformer that reads its class token."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 16))
        self.place = nn.Parameter(torch.zeros(1, 65, 16))
        self.blocks = nn.Sequential(*(Block(16) for _ in range(2)))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], 1) + self.place
        return self.head(self.norm(self.blocks(tokens))[:, 0])


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class SelfAttention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v)


class Deaf(nn.Module):
    """A layer that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Conv2d(3, 8, 3, 2, 1)
        self.unused = nn.Conv2d(8, 8, 3, 1, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.used(x)
        self.unused(y)
        return self.fc(y.mean((2, 3)))


class Noisy(nn.Module):
    """A network that is random in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 8, 3, 2, 1)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.features(x)
        return self.fc(torch.nn.functional.dropout(y, 0.5, training=True).mean((2, 3)))


class DictOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = gap()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.net(x)}


def pictures(n: int = 3, size: int = 16, seed: int = 1) -> Tensor:
    """Random inputs."""
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(seed))
