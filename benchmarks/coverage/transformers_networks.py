"""Architectures of Hugging Face transformers, as wide as they are published, with fewer blocks and no downloads.

Widths, heads, patches and pictures are those of the published configurations; what does not follow the picture any more
(vocabularies, decoders) is smaller.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn

from benchmarks.coverage.subject import Output, Subject, as_pixel_values
from l2caf.torchvision_compat import import_torchvision

Feed = Callable[[Tensor], Any]
LAYERS: Final = {"num_hidden_layers": 2}
TEXT: Final = {"vocab_size": 1000, "num_hidden_layers": 1}
IMAGE_TOKEN: Final = 999

# Class of the classifier without `ForImageClassification`, and what differs from its default configuration.
CLASSIFIERS: Final[dict[str, dict[str, Any]]] = {
    "Beit": LAYERS, "Bit": {}, "ConvNext": {}, "ConvNextV2": {}, "Cvt": {}, "Data2VecVision": LAYERS, "DeiT": LAYERS,
    "Dinov2": LAYERS, "Dinov2WithRegisters": LAYERS, "DonutSwin": {"depths": [1, 1, 2, 1], "image_size": 224},
    "EfficientNet": {},
    "FocalNet": {}, "HGNetV2": {}, "Hiera": {}, "IJepa": LAYERS | {"image_size": 224, "patch_size": 14}, "Levit": {},
    "MobileNetV1": {}, "MobileNetV2": {}, "MobileViT": {}, "MobileViTV2": {}, "PoolFormer": {}, "Pvt": {},
    "PvtV2": {}, "RegNet": {}, "ResNet": {}, "Segformer": {}, "SwiftFormer": {}, "TextNet": {}, "ViT": LAYERS,
    "ViTMSN": LAYERS,
}  # fmt: skip
SWINS: Final = {"tiny": (96, 3), "base": (128, 4), "large": (192, 6)}  # small has the width of tiny
DETECTOR: Final = {"encoder_layers": 1, "decoder_layers": 1}


def subjects() -> Iterator[Subject]:
    """Networks of every kind.

    Yields:
        The networks.
    """
    import_torchvision()  # transformers imports it too
    yield from _classifiers()
    for kind in (_self_supervised, _detectors, _segmenters, _pictures_and_words, _language_models, _clips):
        for name, build, size, output, feed in kind():
            axes = {4: (0, 2, 3), 2: (0,)}.get(len(size))  # (t, c, h, w), or a row of patches
            yield Subject(f"transformers/{name}", build, size, output, feed, axes)


Entry = tuple[str, Callable[[], nn.Module], tuple[int, ...], Output, Feed]


def _make(model: str, config: str, options: dict[str, Any]) -> nn.Module:
    import transformers  # noqa: PLC0415

    return getattr(transformers, model)(getattr(transformers, config)(**options))


def _side(config: str, options: dict[str, Any]) -> int:
    import transformers  # noqa: PLC0415

    size = getattr(getattr(transformers, config)(**options), "image_size", 224)
    return size if isinstance(size, int) else size[0]


def _classifiers() -> Iterator[Subject]:
    swins: dict[str, tuple[str, dict[str, Any]]] = {}
    for size, (width, heads) in SWINS.items():
        widths = {"embed_dim": width, "num_heads": [heads * 2**i for i in range(4)], "depths": [1, 1, 2, 1]}
        swins[f"Swin {size}"] = ("Swin", widths)
        swins[f"Swinv2 {size}"] = ("Swinv2", widths)
    swins["Swin small"] = ("Swin", {"embed_dim": 96, "depths": [1, 1, 4, 1]})
    for name, (kind, options) in ({name: (name, options) for name, options in CLASSIFIERS.items()} | swins).items():
        side = _side(f"{kind}Config", options)
        build = partial(_make, f"{kind}ForImageClassification", f"{kind}Config", options | {"num_labels": 10})
        yield Subject(f"transformers/{name}", build, (3, side, side), "logits", as_pixel_values)


def _self_supervised() -> Iterator[Entry]:
    for name, output in (("DINOv3ViT", "pooler_output"), ("DINOv3ConvNext", "pooler_output")):
        options = LAYERS | {"num_register_tokens": 4} if name == "DINOv3ViT" else {"depths": [1, 1, 2, 1]}
        yield name, partial(_make, f"{name}Model", f"{name}Config", options), (3, 224, 224), output, as_pixel_values
    vit_mae = partial(_make, "ViTMAEModel", "ViTMAEConfig", LAYERS | {"mask_ratio": 0.0})
    yield "ViTMAE", vit_mae, (3, 224, 224), _first_token, _in_order
    dpt = LAYERS | {"num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3]}
    yield "DPT", partial(_make, "DPTForDepthEstimation", "DPTConfig", dpt), (3, 384, 384), _mean_depth, as_pixel_values
    glpn = partial(_make, "GLPNForDepthEstimation", "GLPNConfig", {"depths": [1, 1, 1, 1]})
    yield "GLPN", glpn, (3, 224, 224), _mean_depth, as_pixel_values
    sam = LAYERS | {"global_attn_indexes": [1], "image_size": 512}
    sam_vision = partial(_make, "SamVisionModel", "SamVisionConfig", sam)
    yield "SamVision", sam_vision, (3, 512, 512), _mean_features, as_pixel_values
    perceiver = {"num_self_attends_per_block": 2, "num_cross_attention_heads": 1, "image_size": 224}
    for way, width in (("ConvProcessing", 322), ("Learned", 512), ("Fourier", 261)):
        options = perceiver | {"d_model": width}
        make = partial(_make, f"PerceiverForImageClassification{way}", "PerceiverConfig", options)
        yield f"Perceiver {way}", make, (3, 224, 224), "logits", _as_inputs


def _first_token(answer: Any) -> Tensor:
    return answer.last_hidden_state[:, 0]


def _mean_depth(answer: Any) -> Tensor:
    return answer.predicted_depth.mean((1, 2)).unsqueeze(1)


def _mean_features(answer: Any) -> Tensor:
    return answer.last_hidden_state.mean((2, 3))


def _as_inputs(pictures: Tensor) -> dict[str, Tensor]:
    return {"inputs": pictures}


def _in_order(pictures: Tensor) -> dict[str, Tensor]:
    """A masked autoencoder shuffles its patches by noise; this noise leaves them as they are."""
    noise = torch.linspace(0, 1, 196).expand(len(pictures), -1)
    return {"pixel_values": pictures, "noise": noise}


def _backbone() -> Any:
    import transformers  # noqa: PLC0415

    return transformers.ResNetConfig(out_features=["stage4"])


def _detectors() -> Iterator[Entry]:
    for name in ("Detr", "ConditionalDetr", "TableTransformer", "DeformableDetr"):
        yield name, partial(_detr, name), (3, 256, 256), "logits", as_pixel_values
    yield "Detr boxes", partial(_detr, "Detr"), (3, 256, 256), "pred_boxes", as_pixel_values
    for name in ("RTDetr", "RTDetrV2"):
        yield name, partial(_rt_detr, name), (3, 256, 256), "logits", as_pixel_values
    yolos = LAYERS | {"image_size": [256, 256]}
    yolos_of = partial(_make, "YolosForObjectDetection", "YolosConfig", yolos)
    yield "Yolos", yolos_of, (3, 256, 256), "logits", as_pixel_values


def _detr(name: str) -> nn.Module:
    options = DETECTOR | {"use_timm_backbone": False, "backbone": None, "backbone_config": _backbone()}
    if name == "DeformableDetr":
        import transformers  # noqa: PLC0415

        stages = ["stage2", "stage3", "stage4"]
        options |= {"backbone_config": transformers.ResNetConfig(out_features=stages), "decoder_layers": 2}
    return _make(f"{name}ForObjectDetection", f"{name}Config", options)


def _rt_detr(name: str) -> nn.Module:
    return _make(f"{name}ForObjectDetection", f"{name}Config", {"decoder_layers": 2})


def _segmenters() -> Iterator[Entry]:
    kinds: dict[str, dict[str, Any]] = {"Segformer": {}, "MobileViT": {}, "DPT": {}}
    kinds["Beit"] = {"out_indices": [3, 5, 7, 11]}
    for name, options in kinds.items():
        make = partial(_make, f"{name}ForSemanticSegmentation", f"{name}Config", options)
        side = _side(f"{name}Config", options)
        yield f"{name} segmentation", make, (3, side, side), _mean_scores, as_pixel_values
    yield "UperNet", _upernet, (3, 256, 256), _mean_scores, as_pixel_values
    for name in ("MaskFormer", "Mask2Former"):
        yield name, partial(_mask_former, name), (3, 256, 256), "class_queries_logits", as_pixel_values


def _mean_scores(answer: Any) -> Tensor:
    return answer.logits.mean((2, 3))


def _swin_of_four(**options: Any) -> Any:
    import transformers  # noqa: PLC0415

    stages = ["stage1", "stage2", "stage3", "stage4"]
    return transformers.SwinConfig(depths=[1, 1, 2, 1], image_size=256, out_features=stages, **options)


def _upernet() -> nn.Module:
    return _make("UperNetForSemanticSegmentation", "UperNetConfig", {"backbone_config": _swin_of_four()})


def _mask_former(name: str) -> nn.Module:
    kind = "Instance" if name == "MaskFormer" else "Universal"
    options: dict[str, Any] = {"backbone_config": _swin_of_four(), "backbone": None}
    if name == "Mask2Former":
        options |= {"encoder_layers": 1, "decoder_layers": 2}
    return _make(f"{name}For{kind}Segmentation", f"{name}Config", options)


def _words(pictures: Tensor, *, length: int, texts: int | None = None, key: str = "input_ids") -> dict[str, Tensor]:
    """The pictures, and words: as many texts, or one for each picture."""
    count = len(pictures) if texts is None else texts
    return {"pixel_values": pictures, key: torch.arange(2, 2 + length).repeat(count, 1)}


def _pictures_and_words() -> Iterator[Entry]:
    one, three = partial(_words, length=8, texts=1), partial(_words, length=8, texts=3)
    each = partial(_words, length=8)
    size = (3, 224, 224)
    clip_vision = partial(_make, "CLIPVisionModelWithProjection", "CLIPVisionConfig", LAYERS)
    yield "CLIP vision", clip_vision, size, "image_embeds", as_pixel_values
    two = partial(_two_towers, "CLIP", TEXT | {"eos_token_id": 9}, LAYERS)
    yield "CLIP 1 text", two, size, "logits_per_image", one
    yield "CLIP 3 texts", two, size, "logits_per_image", three
    siglip = partial(_two_towers, "Siglip", TEXT, LAYERS)
    yield "Siglip", siglip, size, "logits_per_image", three
    siglip_vision = partial(_make, "SiglipVisionModel", "SiglipVisionConfig", LAYERS)
    yield "Siglip vision", siglip_vision, size, "pooler_output", as_pixel_values
    yield "Siglip2", partial(_two_towers, "Siglip2", TEXT, LAYERS), (256, 768), "logits_per_image", _patches
    align = partial(_two_towers, "Align", TEXT, {"image_size": 289, "depth_coefficient": 1.0})
    yield "Align", align, (3, 289, 289), "logits_per_image", three
    seg = partial(_make, "CLIPSegForImageSegmentation", "CLIPSegConfig", {})
    yield "CLIPSeg", seg, (3, 224, 224), _mean_mask, each
    owl = partial(_make, "OwlViTForObjectDetection", "OwlViTConfig", {"vision_config": LAYERS, "text_config": TEXT})
    yield "OwlViT", owl, (3, 768, 768), "logits", each
    group = partial(_two_towers, "GroupViT", TEXT, {"depths": [2, 1, 1]})
    yield "GroupViT", group, size, "logits_per_image", three
    blip = partial(_make, "BlipForImageTextRetrieval", "BlipConfig", {"vision_config": LAYERS, "text_config": TEXT})
    yield "Blip", blip, (3, 384, 384), "itm_score", each


def _mean_mask(answer: Any) -> Tensor:
    return answer.logits.mean((-2, -1)).reshape(-1, 1)


def _two_towers(name: str, text: dict[str, Any], vision: dict[str, Any]) -> nn.Module:
    return _make(f"{name}Model", f"{name}Config", {"text_config": text, "vision_config": vision})


def _patches(rows: Tensor) -> dict[str, Tensor]:
    """Siglip2 takes pictures that are cut into a row of 16 x 16 patches already: (b, 16 * 16, 16 * 16 * 3)."""
    b = len(rows)
    return {
        "pixel_values": rows,
        "pixel_attention_mask": torch.ones(b, 256, dtype=torch.long),
        "spatial_shapes": torch.tensor([[16, 16]]).repeat(b, 1),
        "input_ids": torch.arange(2, 10).repeat(3, 1),
    }


def _language_models() -> Iterator[Entry]:
    yield "Llava", _llava, (3, 336, 336), _last_word, partial(_image_then_words, tokens=576)
    yield "PaliGemma", _paligemma, (3, 224, 224), _last_word, partial(_image_then_words, tokens=256)
    blip = partial(_words, length=8)
    make = partial(_make, "BlipForConditionalGeneration", "BlipConfig", {"vision_config": LAYERS, "text_config": TEXT})
    yield "Blip caption", make, (3, 384, 384), _last_word, blip


def _last_word(answer: Any) -> Tensor:
    return answer.logits[:, -1]


def _image_then_words(pictures: Tensor, *, tokens: int) -> dict[str, Tensor]:
    row = torch.tensor([1] + [IMAGE_TOKEN] * tokens + [5, 6, 7]).repeat(len(pictures), 1)
    return {"pixel_values": pictures, "input_ids": row, "attention_mask": torch.ones_like(row)}


def _llava() -> nn.Module:
    import transformers as tf  # noqa: PLC0415

    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16}
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(image_size=336, patch_size=14, num_hidden_layers=2, **vision),
        text_config=tf.LlamaConfig(vocab_size=1000, num_hidden_layers=1),
        image_token_id=IMAGE_TOKEN,
        image_token_index=IMAGE_TOKEN,
    )
    return tf.LlavaForConditionalGeneration(config)


def _paligemma() -> nn.Module:
    import transformers as tf  # noqa: PLC0415

    vision = {"hidden_size": 1152, "intermediate_size": 4304, "num_attention_heads": 16, "projection_dim": 2048}
    text = {"hidden_size": 2048, "intermediate_size": 16384, "num_attention_heads": 8, "num_key_value_heads": 1}
    config = tf.PaliGemmaConfig(
        vision_config=tf.SiglipVisionConfig(
            image_size=224, patch_size=14, num_hidden_layers=2, vision_use_head=False, **vision
        ).to_dict(),
        text_config=tf.GemmaConfig(vocab_size=1000, num_hidden_layers=1, head_dim=256, **text).to_dict(),
        image_token_id=IMAGE_TOKEN,
        image_token_index=IMAGE_TOKEN,
        projection_dim=2048,
        hidden_size=2048,
        vocab_size=1000,
    )
    return tf.PaliGemmaForConditionalGeneration(config)


def _clips() -> Iterator[Entry]:
    for name, frames in (("VideoMAE", 16), ("Timesformer", 8), ("Vivit", 32)):
        options = LAYERS | {"num_frames": frames}
        make = partial(_make, f"{name}ForVideoClassification", f"{name}Config", options)
        yield name, make, (frames, 3, 224, 224), "logits", as_pixel_values
    jepa = LAYERS | {"frames_per_clip": 8, "num_pooler_layers": 1, "crop_size": 224}
    make = partial(_make, "VJEPA2ForVideoClassification", "VJEPA2Config", jepa)
    yield "VJEPA2", make, (8, 3, 224, 224), "logits", _as_clips


def _as_clips(pictures: Tensor) -> dict[str, Tensor]:
    return {"pixel_values_videos": pictures}
