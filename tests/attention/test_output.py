import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from l2caf import L2CAF, over_region
from l2caf.attention.output import output_reader
from l2caf.errors import OutputError


def test_an_output_is_read_by_index_key_attribute_or_function_and_flattened() -> None:
    maps = torch.arange(24.0).view(2, 3, 4)
    for output, choice in (((maps, 1), 0), ({"a": maps}, "a"), ({"a": maps}, lambda o: o["a"]), (maps, None)):
        assert torch.equal(output_reader(choice)(output), maps.flatten(1))
    assert output_reader(None)(torch.ones(4)).shape == (4, 1)


@pytest.mark.parametrize(
    ("output", "choice", "message"),
    [
        ({"logits": torch.ones(1)}, "logit", "did you mean 'logits'"),
        ((torch.ones(1),), 3, "a tuple of 1"),
        ({"logits": torch.ones(1)}, None, "say which part to explain"),
        (torch.ones(2, 3, dtype=torch.long), None, "expected floats"),
    ],
)
def test_a_choice_that_does_not_fit_names_what_there_was(output: object, choice: object, message: str) -> None:
    with pytest.raises(OutputError, match=message):
        output_reader(choice)(output)  # type: ignore[arg-type]


class Segmenter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 6, 3, 2, 1)
        self.head = nn.Sequential(nn.Conv2d(6, 4, 1), nn.Upsample(scale_factor=2, mode="bilinear"))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(self.features(x).relu())}


def test_a_region_is_explained_by_the_average_of_its_scores() -> None:
    model, x = Segmenter().eval(), torch.randn(2, 3, 16, 16)
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[:4, 8:] = True
    attention = L2CAF(model, "features", output=over_region(mask, "out"))(x, 2)
    with torch.no_grad():
        assert torch.allclose(attention.output, model(x)["out"][:, :, :4, 8:].mean((2, 3)), atol=1e-5)
    near = attention.filter[:, 0, :4, 3:].square().sum((1, 2))  # only what the region is made from can matter
    assert torch.allclose(near, torch.ones(2), atol=1e-4)
    with pytest.raises(OutputError, match="region is empty"):
        over_region(torch.zeros(4, 4, dtype=torch.bool))
    with pytest.raises(OutputError, match=r"expected maps \(b, n, 4, 4\)"):
        L2CAF(model, "features", output=over_region(torch.ones(4, 4, dtype=torch.bool), "out"))(x)


@pytest.mark.data
def test_what_makes_a_dog_a_dog_for_a_real_segmentation_network_lies_on_the_dog(shared_data: Path) -> None:
    path = shared_data / "weights" / "deeplabv3_mnv2.py"
    spec = importlib.util.spec_from_file_location("deeplab", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.DeepLabV3MNv2().eval()
    model.load_state_dict(load_file(shared_data / "weights" / "deeplabv3_mnv2_pascal.safetensors"))
    with Image.open(shared_data / "images" / "cute_dog.jpg") as image:
        pixels = np.asarray(image.convert("RGB").resize((257, 257)))
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.no_grad():
        dog = model(x).argmax(1)[0] == 12  # PASCAL VOC's number
    assert int(dog.sum()) > 1000
    attention = L2CAF(model, "blocks", output=over_region(dog))(x, 12)
    heat = attention.heatmap()[0, 0]
    assert float(heat[dog].mean()) > 3 * float(heat[~dog].mean())
