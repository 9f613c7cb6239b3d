"""Forty small networks whose positions are hard to find, or easy to mistake for something else."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from benchmarks.coverage.subject import Output, Subject, as_it_is, as_pixel_values
from torch import Tensor, nn

from l2caf.torchvision_compat import import_torchvision

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
STAGES = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "layer_type": "basic"}
DECODER = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "num_labels": 4,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
}  # fmt: skip
PATCHES = {"image_size": 64, "patch_size": 16}
TIMM = {
    "test_resnet": 160, "test_vit": 160, "test_convnext": 160, "test_efficientnet": 160, "test_nfnet": 160,
    "test_mambaout": 160, "test_byobnet": 160, "test_vit2": 64, "test_vit4": 160,
    "pvt_v2_b0": 96, "mobilevit_xxs": 128, "ghostnet_050": 96,
    "edgenext_xx_small": 128, "crossvit_tiny_240": 240, "mobilenetv3_small_050": 128,
}  # fmt: skip
TORCHVISION = {"shufflenet_v2_x0_5": 160, "squeezenet1_1": 96, "mobilenet_v3_small": 160, "densenet121": 96}


class Scan(nn.Module):
    """A classifier of volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 6, 3, 2, 1), nn.ReLU(inplace=True), nn.Conv3d(6, 8, 3, 2, 1))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3, 4)))


class Signal(nn.Module):
    """A classifier of sequences."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv1d(2, 6, 5, 2, 2), nn.ReLU(), nn.Conv1d(6, 8, 5, 2, 2))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean(2))


class UNet(nn.Module):
    """Pictures in, pictures out, over a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 1, 1)
        self.bottom = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU())
        self.up = nn.Upsample(scale_factor=2)
        self.last = nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x).relu()
        return self.last(torch.cat([skip, self.up(self.bottom(skip))], 1))


def pooled_signal() -> nn.Module:
    """Its sixteen pooled channels must not pass for time."""
    trunk = nn.Sequential(nn.Conv1d(3, 16, 5, 2), nn.ReLU(), nn.Conv1d(16, 16, 5, 2), nn.ReLU())
    return nn.Sequential(trunk, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 4))


def _transformer(model: str, config: str, **options: Any) -> nn.Module:
    import_torchvision()
    import transformers  # noqa: PLC0415

    nested = {key: _config(*value) if isinstance(value, tuple) else value for key, value in options.items()}
    return getattr(transformers, model)(_config(config, nested))


def _config(name: str, options: dict[str, Any]) -> Any:
    import transformers  # noqa: PLC0415

    return getattr(transformers, name)(**options)


def _timm(name: str) -> nn.Module:
    import_torchvision()
    import timm  # noqa: PLC0415

    return timm.create_model(name)


def _torchvision(name: str) -> nn.Module:
    return import_torchvision().models.get_model(name, weights=None)


def _with_texts(pictures: Tensor, *, texts: int) -> dict[str, Tensor]:
    return {"pixel_values": pictures, "input_ids": torch.arange(2, 10).repeat(texts, 1)}


def _after_the_picture(pictures: Tensor) -> dict[str, Tensor]:
    return {"pixel_values": pictures, "input_ids": torch.tensor([[1, *[99] * 16, 5, 6, 7]]).repeat(len(pictures), 1)}


def _last_word(answer: Any) -> Tensor:
    return answer.logits[:, -1]


def _clip() -> nn.Module:
    text = {"vocab_size": 100, "max_position_embeddings": 20, "eos_token_id": 9, "bos_token_id": 1, "pad_token_id": 0}
    both = {"projection_dim": 16, **SMALL}
    towers = {"text_config": text | both, "vision_config": PATCHES | both, "projection_dim": 16}
    return _transformer("CLIPModel", "CLIPConfig", **towers)


def _llava() -> nn.Module:
    text = SMALL | {"vocab_size": 100, "num_key_value_heads": 2}
    token = {"image_token_id": 99, "image_token_index": 99, "vision_feature_layer": -1}
    towers = {"vision_config": ("CLIPVisionConfig", PATCHES | SMALL), "text_config": ("LlamaConfig", text)}
    return _transformer("LlavaForConditionalGeneration", "LlavaConfig", **towers, **token)


def _hf(name: str, build: Callable[[], nn.Module], side: int, output: Output, feed: Any = as_pixel_values) -> Subject:
    return Subject(f"transformers/{name}", build, (3, side, side), output, feed)


def _transformers() -> list[Subject]:
    classifier = {"num_labels": 10}
    swin = {"patch_size": 4, "num_labels": 10}
    narrow = swin | {"image_size": 64, "embed_dim": 16, "depths": [1, 1, 1], "num_heads": [1, 2, 4], "window_size": 4}
    wide = {"image_size": 64, "embed_dim": 128, "depths": [1, 1, 1, 1], "num_heads": [4, 8, 16, 32], "window_size": 2}
    no_timm = {"use_timm_backbone": False, "backbone": None}
    last = ("ResNetConfig", STAGES | {"out_features": ["stage4"]})
    three = ("RTDetrResNetConfig", STAGES | {"out_features": ["stage2", "stage3", "stage4"]})
    levels = {"encoder_in_channels": [16, 24, 32], "decoder_in_channels": [32, 32, 32], "feat_strides": [8, 16, 32]}
    make = partial(partial, _transformer)
    clip = PATCHES | SMALL | {"num_frames": 4, "num_labels": 6}
    videomae = make("VideoMAEForVideoClassification", "VideoMAEConfig", **clip)
    timesformer = make("TimesformerForVideoClassification", "TimesformerConfig", **clip)
    rt_detr = make("RTDetrForObjectDetection", "RTDetrConfig", backbone_config=three, encoder_hidden_dim=32,
                   num_queries=65, **levels, **DECODER)  # fmt: skip
    detr = make("DetrForObjectDetection", "DetrConfig", backbone_config=last, num_queries=100, **no_timm, **DECODER)
    vits = PATCHES | SMALL
    dinov2 = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    convnext = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], **classifier}
    regnet = {"embedding_size": 8, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "groups_width": 8}
    segformer = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]}
    return [
        _hf("ViT", make("ViTForImageClassification", "ViTConfig", **vits, **classifier), 64, "logits"),
        _hf("Swin", make("SwinForImageClassification", "SwinConfig", **narrow), 64, "logits"),
        _hf("Swin of width 1024", make("SwinForImageClassification", "SwinConfig", **swin, **wide), 64, "logits"),
        _hf("Dinov2", make("Dinov2ForImageClassification", "Dinov2Config", **PATCHES, **dinov2), 64, "logits"),
        _hf("DINOv3", make("DINOv3ViTModel", "DINOv3ViTConfig", num_register_tokens=4, **vits), 64, "pooler_output"),
        _hf("Detr of 100 queries", detr, 256, "logits"),
        _hf("RTDetr of 65 queries", rt_detr, 128, "logits"),
        _hf("CLIP with 1 text", _clip, 64, "logits_per_image", partial(_with_texts, texts=1)),
        _hf("CLIP with 3 texts", _clip, 64, "logits_per_image", partial(_with_texts, texts=3)),
        _hf("Llava", _llava, 64, _last_word, _after_the_picture),
        _hf("ResNet", make("ResNetForImageClassification", "ResNetConfig", **STAGES, **classifier), 96, "logits"),
        _hf("ConvNext", make("ConvNextForImageClassification", "ConvNextConfig", **convnext), 96, "logits"),
        _hf("Segformer", make("SegformerForImageClassification", "SegformerConfig", **segformer), 64, "logits"),
        _hf("DeiT", make("DeiTForImageClassification", "DeiTConfig", **vits, **classifier), 64, "logits"),
        _hf("Beit", make("BeitForImageClassification", "BeitConfig", **vits, **classifier), 64, "logits"),
        _hf("RegNet", make("RegNetForImageClassification", "RegNetConfig", **regnet), 96, "logits"),
        Subject("transformers/VideoMAE", videomae, (4, 3, 64, 64), "logits", as_pixel_values, (0, 2, 3)),
        Subject("transformers/Timesformer", timesformer, (4, 3, 64, 64), "logits", as_pixel_values, (0, 2, 3)),
    ]


SAMPLE = [
    *(Subject(f"timm/{name}", partial(_timm, name), (3, side, side)) for name, side in TIMM.items()),
    *(
        Subject(f"torchvision/{name}", partial(_torchvision, name), (3, side, side))
        for name, side in TORCHVISION.items()
    ),
    *_transformers(),
    Subject("own/volume", Scan, (1, 12, 20, 20)),
    Subject("own/signal", Signal, (2, 64)),
    Subject("own/pooled signal", pooled_signal, (3, 64)),
    Subject("own/U-Net", UNet, (3, 12, 16)),
    Subject(
        "own/picture",
        partial(nn.Sequential, nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.Flatten()),
        (3, 24, 24),
        feed=as_it_is,
    ),
]
