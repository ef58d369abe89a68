"""Models of other people's libraries, small configurations with random weights, and inputs they take.

Each entry builds `(model, inputs)`; inputs are positional (a tuple) or by keyword (a dict). Random weights show the
same structure as trained ones; small configurations keep every check in float64 within seconds.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Inputs = tuple[Any, ...] | dict[str, Any]
Build = Callable[[], tuple[nn.Module, Inputs]]
MODELS: dict[str, Build] = {}

WORDS, LENGTH = 100, 12


def images(size: int = 64, channels: int = 3, batch: int = 1) -> Tensor:
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(1))


def tokens(length: int = LENGTH, words: int = WORDS) -> Tensor:
    return torch.randint(3, words, (2, length), generator=torch.Generator().manual_seed(1))


def part(library: str, path: str) -> Any:
    """A class or function by its dotted name."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"{library}.{module}" if module else library), name)


def add(name: str, path: str, inputs: Callable[[], Inputs], **options: Any) -> None:
    """A model that is its class called with options; `library/name`."""
    library = name.partition("/")[0]
    MODELS[name] = lambda: (part(library, path)(**options), inputs())


def text_model(name: str, kind: str, options: dict[str, Any], extra: Callable[[], dict[str, Any]] = dict) -> None:
    """A model of transformers on tokens; `kind` is the configuration's and the model's name, `GPT2 GPT2LMHeadModel`."""
    config, model = kind.split()
    MODELS[f"transformers/{name}"] = lambda: (
        _configured(config, model, options),
        {"input_ids": tokens(), **extra()},
    )


def image_model(name: str, kind: str, options: dict[str, Any], inputs: Callable[[], Inputs]) -> None:
    config, model = kind.split()
    MODELS[f"transformers/{name}"] = lambda: (_configured(config, model, options), inputs())


def _configured(config: str, model: str, options: dict[str, Any]) -> nn.Module:
    transformers = importlib.import_module("transformers")
    settings = getattr(transformers, f"{config}Config")(**options)
    settings._attn_implementation = "sdpa"
    settings._experts_implementation = "eager"  # the grouped kernel takes no float64
    try:
        return getattr(transformers, model)(settings)
    except ValueError:  # no fused attention for this one
        settings._attn_implementation = "eager"
        return getattr(transformers, model)(settings)


SMALL = {"vocab_size": WORDS, "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}
MIDDLE = SMALL | {"intermediate_size": 48, "max_position_embeddings": 64}
LLAMA = MIDDLE | {"num_key_value_heads": 2, "pad_token_id": 0, "use_cache": False}

text_model(
    "gpt2",
    "GPT2 GPT2LMHeadModel",
    {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "use_cache": False},
)
text_model("bert", "Bert BertModel", MIDDLE)
text_model("roberta", "Roberta RobertaForMaskedLM", MIDDLE)
text_model(
    "distilbert",
    "DistilBert DistilBertModel",
    {"vocab_size": WORDS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64},
)
text_model("albert", "Albert AlbertModel", MIDDLE | {"embedding_size": 16})
text_model("electra", "Electra ElectraModel", MIDDLE | {"embedding_size": 16})
text_model(
    "deberta_v2", "DebertaV2 DebertaV2Model", MIDDLE | {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
)
text_model("mpnet", "MPNet MPNetModel", MIDDLE)
text_model("llama", "Llama LlamaForCausalLM", LLAMA)
text_model("mistral", "Mistral MistralForCausalLM", LLAMA)
text_model("mixtral", "Mixtral MixtralForCausalLM", LLAMA | {"num_local_experts": 4, "num_experts_per_tok": 2})
text_model("qwen2", "Qwen2 Qwen2ForCausalLM", LLAMA)
text_model(
    "qwen2_moe",
    "Qwen2Moe Qwen2MoeForCausalLM",
    LLAMA
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 24},
)
text_model("qwen3", "Qwen3 Qwen3ForCausalLM", LLAMA | {"head_dim": 8})
text_model("phi", "Phi PhiForCausalLM", LLAMA | {"num_key_value_heads": 4})
text_model("phi3", "Phi3 Phi3ForCausalLM", LLAMA)
text_model("gemma", "Gemma GemmaForCausalLM", LLAMA | {"head_dim": 8})
text_model("gemma2", "Gemma2 Gemma2ForCausalLM", LLAMA | {"head_dim": 8})
text_model("falcon", "Falcon FalconForCausalLM", SMALL | {"new_decoder_architecture": False, "use_cache": False})
text_model(
    "opt",
    "OPT OPTForCausalLM",
    {
        "vocab_size": WORDS,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "ffn_dim": 48,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 32,
        "max_position_embeddings": 64,
        "use_cache": False,
    },
)
text_model(
    "bloom",
    "Bloom BloomForCausalLM",
    {"vocab_size": WORDS, "hidden_size": 32, "n_layer": 2, "n_head": 4, "use_cache": False},
)
text_model("gpt_neox", "GPTNeoX GPTNeoXForCausalLM", MIDDLE | {"use_cache": False})
text_model(
    "gptj",
    "GPTJ GPTJForCausalLM",
    {
        "vocab_size": WORDS,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "rotary_dim": 4,
        "n_positions": 64,
        "use_cache": False,
    },
)
text_model(
    "mamba",
    "Mamba MambaForCausalLM",
    {"vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "use_cache": False},
)
text_model("olmo", "Olmo OlmoForCausalLM", LLAMA)
text_model("stablelm", "StableLm StableLmForCausalLM", LLAMA)
text_model(
    "t5",
    "T5 T5ForConditionalGeneration",
    {"vocab_size": WORDS, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "use_cache": False},
    lambda: {"decoder_input_ids": tokens(6)},
)
text_model(
    "bart",
    "Bart BartForConditionalGeneration",
    {
        "vocab_size": WORDS,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "max_position_embeddings": 64,
        "use_cache": False,
    },
    lambda: {"decoder_input_ids": tokens(6)},
)
text_model(
    "vits",
    "Vits VitsModel",
    {
        "vocab_size": WORDS,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 48,
        "flow_size": 16,
        "spectrogram_bins": 33,
        "upsample_initial_channel": 32,
        "upsample_rates": [4, 4],
        "upsample_kernel_sizes": [8, 8],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
        "prior_encoder_num_wavenet_layers": 2,
        "posterior_encoder_num_wavenet_layers": 2,
        "prior_encoder_num_flows": 2,
        "duration_predictor_num_flows": 2,
        "depth_separable_num_layers": 2,
    },
)
image_model(
    "whisper",
    "Whisper WhisperModel",
    {
        "vocab_size": WORDS,
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "num_mel_bins": 20,
        "max_source_positions": 50,
        "max_target_positions": 32,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 1,
        "use_cache": False,
    },
    lambda: {"input_features": torch.randn(1, 20, 100), "decoder_input_ids": tokens(6)},
)
SPEECH = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "conv_dim": [16, 16, 24],
    "conv_kernel": [10, 3, 3],
    "conv_stride": [5, 2, 2],
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
for name in ("Wav2Vec2", "Hubert"):
    image_model(name.lower(), f"{name} {name}Model", SPEECH, lambda: {"input_values": torch.randn(1, 800)})
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
image_model("vit", "ViT ViTModel", VISION, lambda: {"pixel_values": images(32)})
image_model("deit", "DeiT DeiTModel", VISION, lambda: {"pixel_values": images(32)})
image_model("beit", "Beit BeitModel", VISION, lambda: {"pixel_values": images(32)})
image_model("dinov2", "Dinov2 Dinov2Model", VISION, lambda: {"pixel_values": images(32)})
image_model(
    "swin",
    "Swin SwinModel",
    {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    lambda: {"pixel_values": images(32)},
)
image_model(
    "swinv2",
    "Swinv2 Swinv2Model",
    {"image_size": 32, "patch_size": 4, "embed_dim": 16, "depths": [2, 2], "num_heads": [2, 4], "window_size": 4},
    lambda: {"pixel_values": images(32)},
)
image_model(
    "segformer",
    "Segformer SegformerForSemanticSegmentation",
    {
        "hidden_sizes": [16, 24, 32, 48],
        "depths": [1, 1, 1, 1],
        "num_attention_heads": [1, 2, 4, 4],
        "decoder_hidden_size": 32,
    },
    lambda: {"pixel_values": images()},
)
image_model(
    "convnext",
    "ConvNext ConvNextModel",
    {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1]},
    lambda: {"pixel_values": images()},
)
image_model(
    "mobilevit",
    "MobileViT MobileViTModel",
    {"image_size": 64, "hidden_sizes": [24, 32, 40], "neck_hidden_sizes": [8, 16, 24, 24, 32, 40, 48]},
    lambda: {"pixel_values": images()},
)
image_model(
    "clip",
    "CLIP CLIPModel",
    {
        "text_config": {
            "vocab_size": WORDS,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 48,
            "max_position_embeddings": 32,
        },
        "vision_config": VISION,
        "projection_dim": 24,
    },
    lambda: {"input_ids": tokens(), "pixel_values": images(32)},
)
image_model("siglip", "SiglipVision SiglipVisionModel", VISION, lambda: {"pixel_values": images(32)})
image_model(
    "patchtst",
    "PatchTST PatchTSTForPrediction",
    {
        "num_input_channels": 3,
        "context_length": 64,
        "patch_length": 8,
        "patch_stride": 8,
        "d_model": 32,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "ffn_dim": 48,
        "prediction_length": 8,
    },
    lambda: {"past_values": torch.randn(2, 64, 3)},
)
image_model(
    "encodec",
    "Encodec EncodecModel",
    {
        "num_filters": 8,
        "hidden_size": 32,
        "codebook_size": 32,
        "codebook_dim": 32,
        "upsampling_ratios": [4, 2],
        "num_lstm_layers": 1,
        "sampling_rate": 8000,
    },
    lambda: {"input_values": torch.randn(1, 1, 800)},
)


def _diffusion(channels: int = 3, size: int = 32) -> Inputs:
    return {"sample": images(size, channels), "timestep": torch.tensor([10])}


add(
    "diffusers/unet2d",
    "UNet2DModel",
    _diffusion,
    sample_size=32,
    block_out_channels=(16, 32),
    layers_per_block=1,
    norm_num_groups=8,
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    attention_head_dim=8,
)
add(
    "diffusers/unet2d_condition",
    "UNet2DConditionModel",
    lambda: _diffusion(4, 16) | {"encoder_hidden_states": torch.randn(1, 5, 24)},
    sample_size=16,
    in_channels=4,
    out_channels=4,
    block_out_channels=(16, 32),
    layers_per_block=1,
    norm_num_groups=8,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    cross_attention_dim=24,
    attention_head_dim=4,
)
add(
    "diffusers/autoencoder_kl",
    "AutoencoderKL",
    lambda: {"sample": images(32)},
    block_out_channels=(16, 32),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    norm_num_groups=8,
)
add(
    "diffusers/vq",
    "VQModel",
    lambda: {"sample": images(32)},
    block_out_channels=(16, 32),
    down_block_types=("DownEncoderBlock2D",) * 2,
    up_block_types=("UpDecoderBlock2D",) * 2,
    norm_num_groups=8,
    num_vq_embeddings=32,
)
add(
    "diffusers/dit",
    "DiTTransformer2DModel",
    lambda: {"hidden_states": images(16, 4), "timestep": torch.tensor([10]), "class_labels": torch.tensor([3])},
    num_attention_heads=4,
    attention_head_dim=8,
    in_channels=4,
    num_layers=2,
    sample_size=16,
    num_embeds_ada_norm=1000,
)
add(
    "diffusers/sd3",
    "SD3Transformer2DModel",
    lambda: {
        "hidden_states": images(16, 4),
        "timestep": torch.tensor([10.0]),
        "encoder_hidden_states": torch.randn(1, 5, 24),
        "pooled_projections": torch.randn(1, 16),
    },
    sample_size=16,
    patch_size=2,
    in_channels=4,
    num_layers=2,
    attention_head_dim=8,
    num_attention_heads=4,
    joint_attention_dim=24,
    caption_projection_dim=32,
    pooled_projection_dim=16,
    out_channels=4,
    pos_embed_max_size=16,
)
add(
    "diffusers/unet1d",
    "UNet1DModel",
    lambda: {"sample": torch.randn(1, 4, 32), "timestep": torch.tensor([10])},
    sample_size=32,
    in_channels=4,
    out_channels=4,
    extra_in_channels=32,
    block_out_channels=(16, 32),
    down_block_types=("DownBlock1DNoSkip", "DownBlock1D"),
    up_block_types=("UpBlock1D", "UpBlock1DNoSkip"),
    mid_block_type="UNetMidBlock1D",
)
add(
    "diffusers/controlnet",
    "ControlNetModel",
    lambda: _diffusion(4, 16) | {"encoder_hidden_states": torch.randn(1, 5, 24), "controlnet_cond": images(32)},
    block_out_channels=(16, 32),
    layers_per_block=1,
    norm_num_groups=8,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    cross_attention_dim=24,
    attention_head_dim=4,
    conditioning_embedding_out_channels=(8, 16),
)


def _yolo(name: str) -> None:
    def build() -> tuple[nn.Module, Inputs]:
        kind = "SegmentationModel" if name.endswith("seg") else "DetectionModel"
        return part("ultralytics", f"nn.tasks.{kind}")(f"{name}.yaml", verbose=False), (images(64),)

    MODELS[f"ultralytics/{name}"] = build


for yolo in ("yolov5n", "yolov8n", "yolov8n-seg", "yolov9t", "yolov10n", "yolo11n", "yolo12n"):
    _yolo(yolo)

for kind, encoder in (
    ("Unet", "resnet18"),
    ("UnetPlusPlus", "resnet18"),
    ("FPN", "mobilenet_v2"),
    ("PSPNet", "resnet18"),
    ("DeepLabV3Plus", "resnet18"),
    ("Linknet", "resnet18"),
    ("MAnet", "resnet18"),
    ("PAN", "mobilenet_v2"),
    ("UPerNet", "resnet18"),
    ("Segformer", "mit_b0"),
):
    add(
        f"segmentation_models_pytorch/{kind.lower()}",
        kind,
        lambda kind=kind: (images(128 if kind == "PAN" else 32),),  # pyramids that go further down
        encoder_name=encoder,
        encoder_weights=None,
        classes=5,
    )


def _volume(size: int) -> Inputs:
    return (torch.randn(1, 1, size, size, size, generator=torch.Generator().manual_seed(1)),)


PLANE = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3}
add(
    "monai/unet",
    "networks.nets.UNet",
    lambda: (images(32, 1),),
    **PLANE,
    channels=(8, 16, 24),
    strides=(2, 2),
    num_res_units=2,
)
add(
    "monai/unet3d",
    "networks.nets.UNet",
    lambda: _volume(16),
    spatial_dims=3,
    in_channels=1,
    out_channels=2,
    channels=(8, 16, 24),
    strides=(2, 2),
)
add("monai/basic_unet", "networks.nets.BasicUNet", lambda: (images(32, 1),), **PLANE, features=(8, 8, 16, 24, 32, 8))
add("monai/segresnet", "networks.nets.SegResNet", lambda: (images(32, 1),), **PLANE, init_filters=8)
add(
    "monai/attention_unet",
    "networks.nets.AttentionUnet",
    lambda: (images(32, 1),),
    **PLANE,
    channels=(8, 16, 24),
    strides=(2, 2),
)
add(
    "monai/dynunet",
    "networks.nets.DynUNet",
    lambda: (images(32, 1),),
    **PLANE,
    kernel_size=[3, 3, 3],
    strides=[1, 2, 2],
    upsample_kernel_size=[2, 2],
    filters=[8, 16, 24],
)
add("monai/vnet", "networks.nets.VNet", lambda: (images(32, 1),), **PLANE)
add(
    "monai/unetr",
    "networks.nets.UNETR",
    lambda: (images(32, 1),),
    **PLANE,
    img_size=32,
    feature_size=8,
    hidden_size=48,
    mlp_dim=64,
    num_heads=4,
)
add(
    "monai/swin_unetr",
    "networks.nets.SwinUNETR",
    lambda: (images(64, 1),),
    **PLANE,
    feature_size=12,
    depths=(1, 1, 1, 1),
    num_heads=(2, 2, 4, 4),
)
add("monai/highresnet", "networks.nets.HighResNet", lambda: _volume(8), in_channels=1, out_channels=2)
add(
    "monai/densenet",
    "networks.nets.DenseNet",
    lambda: (images(32, 1),),
    spatial_dims=2,
    in_channels=1,
    out_channels=5,
    init_features=16,
    growth_rate=8,
    block_config=(3, 6, 6, 3),
)


def _graph_network(name: str, path: str, **options: Any) -> None:
    def build() -> tuple[nn.Module, Inputs]:
        model = part("torch_geometric", path)(
            in_channels=16, hidden_channels=24, num_layers=2, out_channels=5, **options
        )
        edges = torch.randint(0, 20, (2, 60), generator=torch.Generator().manual_seed(1))
        return model, (torch.randn(20, 16), edges)

    MODELS[f"torch_geometric/{name}"] = build


_graph_network("gcn", "nn.models.GCN")
_graph_network("sage", "nn.models.GraphSAGE")
_graph_network("gat", "nn.models.GAT", heads=4)
_graph_network("gin", "nn.models.GIN")

VIT = {"image_size": 32, "patch_size": 8, "num_classes": 10, "dim": 32, "depth": 2, "heads": 4, "mlp_dim": 48}
add("vit_pytorch/vit", "ViT", lambda: (images(32),), **VIT, dim_head=8)
add("vit_pytorch/simple_vit", "SimpleViT", lambda: (images(32),), **VIT, dim_head=8)
add("vit_pytorch/deepvit", "deepvit.DeepViT", lambda: (images(32),), **VIT, dim_head=8)
add("vit_pytorch/cait", "cait.CaiT", lambda: (images(32),), **VIT, dim_head=8, cls_depth=1)
add(
    "vit_pytorch/cvt",
    "cvt.CvT",
    lambda: (images(64),),
    num_classes=10,
    s1_emb_dim=16,
    s2_emb_dim=24,
    s2_heads=2,
    s3_emb_dim=32,
    s3_heads=2,
    s3_depth=2,
)
add(
    "vit_pytorch/pit",
    "pit.PiT",
    lambda: (images(32),),
    image_size=32,
    patch_size=4,
    num_classes=10,
    dim=32,
    depth=(1, 1),
    heads=4,
    mlp_dim=48,
    dim_head=8,
)
add(
    "vit_pytorch/nest",
    "nest.NesT",
    lambda: (images(32),),
    image_size=32,
    patch_size=4,
    num_classes=10,
    dim=16,
    heads=2,
    num_hierarchies=2,
    block_repeats=(1, 1),
)
add(
    "vit_pytorch/mobile_vit",
    "mobile_vit.MobileViT",
    lambda: (images(64),),
    image_size=(64, 64),
    dims=[24, 32, 40],
    channels=[8, 16, 24, 24, 32, 32, 40, 40, 48, 48, 64],
    num_classes=10,
)
add(
    "vit_pytorch/crossformer",
    "crossformer.CrossFormer",
    lambda: (images(224),),
    num_classes=10,
    dim=(32, 64, 64, 128),
    depth=(1, 1, 1, 1),
)


def _vision(name: str, path: str, inputs: Callable[[], Inputs], **options: Any) -> None:
    MODELS[f"torchvision/{name}"] = lambda: (
        part("torchvision", f"models.{path}")(weights=None, weights_backbone=None, **options),
        inputs(),
    )


def _fcn_resnet() -> tuple[nn.Module, Inputs]:
    """One block for each stage of the ResNet-50."""
    resnet = part("torchvision", "models.resnet")
    backbone = resnet.ResNet(resnet.Bottleneck, [1, 1, 1, 1], replace_stride_with_dilation=[False, True, True])
    return part("torchvision", "models.segmentation.fcn._fcn_resnet")(backbone, 21, None), (images(32),)


def _r3d() -> tuple[nn.Module, Inputs]:
    """One block for each stage of the ResNet-18."""
    video = part("torchvision", "models.video.resnet")
    model = video.VideoResNet(video.BasicBlock, [video.Conv3DSimple] * 4, [1, 1, 1, 1], video.BasicStem)
    return model, (torch.randn(1, 3, 4, 16, 16),)


MODELS["torchvision/fcn_resnet"] = _fcn_resnet
MODELS["torchvision/r3d"] = _r3d
_vision("deeplabv3_mobilenet", "segmentation.deeplabv3_mobilenet_v3_large", lambda: (images(64),))
_vision("lraspp", "segmentation.lraspp_mobilenet_v3_large", lambda: (images(64),))
_vision(
    "retinanet", "detection.retinanet_resnet50_fpn", lambda: ([images(64)[0]],), min_size=64, max_size=64, num_classes=5
)
_vision(
    "fcos",
    "detection.fcos_resnet50_fpn",
    lambda: ([images(64)[0]],),
    min_size=64,
    max_size=64,
    num_classes=5,
    score_thresh=0.0,  # with random weights no score is above any other threshold
)
_vision(
    "faster_rcnn",
    "detection.fasterrcnn_resnet50_fpn",
    lambda: ([images(64)[0]],),
    min_size=64,
    max_size=64,
    num_classes=5,
)
_vision(
    "mask_rcnn",
    "detection.maskrcnn_resnet50_fpn",
    lambda: ([images(64)[0]],),
    min_size=64,
    max_size=64,
    num_classes=5,
    box_score_thresh=0.0,
)


@torch.no_grad()
def _ssdlite() -> tuple[nn.Module, Inputs]:
    """With the statistics of its input in the norms, as after training: else the signal dies out, all scores are equal
    to the last bit, and which boxes are kept is a matter of rounding."""
    model = part("torchvision", "models.detection.ssdlite320_mobilenet_v3_large")(
        weights=None, weights_backbone=None, num_classes=5
    ).eval()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train().momentum = None
    model([*torch.randn(2, 3, 320, 320)])  # two: the last maps have one place alone
    for norm in norms:
        norm.eval()
    return model, ([images(320)[0]],)


MODELS["torchvision/ssdlite"] = _ssdlite
MODELS["torchvision/raft_small"] = lambda: (
    part("torchvision", "models.optical_flow.raft_small")(weights=None),
    (images(128), images(128).flip(-1), 2),
)
