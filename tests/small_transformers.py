"""Untrained models of transformers, of its real classes, saved as its hub repositories are."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import pre_tokenizers

from compbench.diffusion.silence import quiet
from compbench.tiny import __file__ as tiny_file

__all__ = ["SIDE", "network_of", "save"]

SIDE, LENGTH = 32, 64
_SHAPE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
_SIZE = {"height": SIDE, "width": SIDE}
_WORDS = "a an the red green blue yellow purple orange circle square triangle star above below left right of to on and "


def save(folder: Path, family: str) -> Path:
    """The folder with the weights, the configuration, the tokenizer and the image processor of a family."""
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(0)
        network, processor = _MADE[family]()
    with torch.no_grad():  # so large that pictures and captions tell
        for weights in network.parameters():
            weights.mul_(10 if weights.ndim > 1 else 1)
    with quiet():
        network.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


def network_of(folder: Path) -> tuple[Any, Any]:
    """The network and the processor as transformers' own pages load them."""
    processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    (name,) = transformers.AutoConfig.from_pretrained(folder, local_files_only=True).architectures
    return getattr(transformers, name).from_pretrained(folder, local_files_only=True).eval(), processor


def _clip() -> tuple[Any, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(Path(tiny_file).parent / "tiny-sd" / "tokenizer")
    text = {**_SHAPE, **_ends(tokenizer), "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH}
    config = transformers.CLIPConfig(text_config=text, vision_config=_vision(), projection_dim=8)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size=_SIZE)
    return transformers.CLIPModel(config), transformers.CLIPProcessor(images, tokenizer)


def _metaclip2() -> tuple[Any, Any]:
    network, processor = _clip()
    text, vision = network.config.text_config.to_dict(), network.config.vision_config.to_dict()
    config = transformers.MetaClip2Config(text_config=text, vision_config=vision, projection_dim=8)
    return transformers.MetaClip2Model(config), processor


def _siglip() -> tuple[Any, Any]:
    tokenizer = _letters()
    config = transformers.SiglipConfig(text_config=_text(tokenizer), vision_config=_vision())
    network = transformers.SiglipModel(config)
    with torch.no_grad():
        network.logit_scale.fill_(1.5), network.logit_bias.fill_(-2.0)
    images = transformers.SiglipImageProcessor(size=_SIZE)
    return network, transformers.SiglipProcessor(images, tokenizer)


def _siglip2() -> tuple[Any, Any]:
    tokenizer = _letters()
    vision = {**_SHAPE, "patch_size": 8, "num_patches": 16}
    config = transformers.Siglip2Config(text_config=_text(tokenizer), vision_config=vision)
    images = transformers.Siglip2ImageProcessor(patch_size=8, max_num_patches=20)
    return transformers.Siglip2Model(config), transformers.Siglip2Processor(images, tokenizer)


def _blip() -> tuple[Any, Any]:
    tokenizer = _words()
    text = {**_text(tokenizer), "encoder_hidden_size": 16, "bos_token_id": 2, "sep_token_id": 3}
    config = transformers.BlipConfig(
        text_config=text, vision_config=_vision(), projection_dim=8, image_text_hidden_size=8
    )
    images = transformers.BlipImageProcessor(size=_SIZE)
    return transformers.BlipForImageTextRetrieval(config), transformers.BlipProcessor(images, tokenizer)


def _blip2() -> tuple[Any, Any]:
    tokenizer = _words()
    qformer = {**_SHAPE, "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH, "encoder_hidden_size": 16}
    language = {
        "model_type": "opt",
        "hidden_size": 16,
        "ffn_dim": 16,
        "num_hidden_layers": 1,
        "word_embed_proj_dim": 16,
    }
    config = transformers.Blip2Config(
        vision_config=_vision(),
        qformer_config={**qformer, "use_qformer_text_input": True, "cross_attention_frequency": 1},
        text_config={**language, "num_attention_heads": 2, "vocab_size": len(tokenizer)},
        num_query_tokens=4,
        image_text_hidden_size=8,
    )
    network = transformers.Blip2ForImageTextRetrieval(config)
    with torch.no_grad():
        network.query_tokens.normal_()
    images = transformers.BlipImageProcessor(size=_SIZE)
    return network, transformers.Blip2Processor(images, tokenizer)


def _qwen3() -> tuple[Any, Any]:
    """A causal language model whose tokenizer has no beginning of a text, as Qwen's."""
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**_language())), _bytes(None)


def _gpt2() -> tuple[Any, Any]:
    tokenizer = _bytes("<|endoftext|>")
    config = transformers.GPT2Config(
        n_embd=16, n_layer=2, n_head=2, n_positions=LENGTH * 2, vocab_size=len(tokenizer), **_ends(tokenizer)
    )
    return transformers.GPT2LMHeadModel(config), tokenizer


def _qwen2_vl() -> tuple[Any, Any]:
    processor = _looking()
    vision = {"depth": 2, "embed_dim": 16, "hidden_size": 16, "num_heads": 2, "mlp_ratio": 1, "patch_size": 8}
    config = transformers.Qwen2VLConfig(text_config=_rotary([1, 1, 2]), vision_config=vision, **_marks(processor))
    return transformers.Qwen2VLForConditionalGeneration(config), processor


def _qwen2_5_vl() -> tuple[Any, Any]:
    processor = _looking()
    vision = {"depth": 2, "hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    vision |= {"patch_size": 8, "window_size": 32, "fullatt_block_indexes": [1]}
    config = transformers.Qwen2_5_VLConfig(text_config=_rotary([1, 1, 2]), vision_config=vision, **_marks(processor))
    return transformers.Qwen2_5_VLForConditionalGeneration(config), processor


def _qwen3_vl() -> tuple[Any, Any]:
    processor = _looking()
    vision = {"depth": 2, "hidden_size": 16, "out_hidden_size": 16, "intermediate_size": 16, "num_heads": 2}
    vision |= {"patch_size": 8, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    text = {**_rotary([2, 1, 1]), "head_dim": 8}
    config = transformers.Qwen3VLConfig(text_config=text, vision_config=vision, **_marks(processor))
    images, tokenizer = processor.image_processor, processor.tokenizer
    video = transformers.Qwen3VLVideoProcessor(patch_size=8)
    return transformers.Qwen3VLForConditionalGeneration(config), transformers.Qwen3VLProcessor(
        images, tokenizer, video, chat_template=_CHAT
    )


def _janus() -> tuple[Any, Any]:
    """A picture is 4x4 tokens of 64; the processor's colours are not those that the image tokenizer reads."""
    tokenizer = _bytes("<bos>", pad_token="<pad>", extra_special_tokens=_IMAGES)
    vq = {"embed_dim": 8, "num_embeddings": 64, "latent_channels": 32, "base_channels": 32, "num_res_blocks": 1}
    vq |= {"channel_multiplier": [1, 1, 1, 1], "projection_dim": 16, "image_token_embed_dim": 16}
    vision = {**_SHAPE, "mlp_ratio": 1, "projection_dim": 16, "image_size": SIDE, "patch_size": 8}
    config = transformers.JanusConfig(
        text_config={"model_type": "llama", **_decoder(tokenizer)},
        vision_config={**vision, "num_image_tokens": 16},
        vq_config=vq,
        image_token_id=tokenizer.convert_tokens_to_ids(_IMAGES["image_token"]),
    )
    network = transformers.JanusForConditionalGeneration(config)
    network.generation_config.update(**_ends(tokenizer), guidance_scale=5)
    images = transformers.JanusImageProcessor(size=_SIZE)
    return network, transformers.JanusProcessor(images, tokenizer, chat_template=_GENERATING, num_image_tokens=16)


def _llava_onevision() -> tuple[Any, Any]:
    """A picture is 16 tokens for the whole of it and more for its parts, as many as its shape asks for."""
    tokenizer = _bytes(None, "<image>", "<video>", "<|im_start|>", "<|im_end|>")
    grid = [[SIDE, SIDE], [SIDE, 2 * SIDE], [2 * SIDE, SIDE]]
    config = transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **_decoder(tokenizer)},
        vision_config={"model_type": "siglip_vision_model", **_vision(), "vision_use_head": False},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grid,
    )
    images = transformers.LlavaOnevisionImageProcessor(size=_SIZE, image_grid_pinpoints=grid)
    processor = transformers.LlavaOnevisionProcessor(
        images,
        tokenizer,
        transformers.LlavaOnevisionVideoProcessor(size=_SIZE),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=_CHAT.replace("<|vision_start|><|image_pad|><|vision_end|>", "<image>"),
    )
    return transformers.LlavaOnevisionForConditionalGeneration(config), processor


def _internvl() -> tuple[Any, Any]:
    """A picture is 4 tokens for each of its parts and for the whole of it, where it has parts."""
    named = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokenizer = _bytes(None, "<|im_start|>", "<|im_end|>", extra_special_tokens={**named, "video_token": "<video>"})
    vision = {**_SHAPE, "image_size": [SIDE, SIDE], "patch_size": [8, 8]}
    config = transformers.InternVLConfig(
        text_config={"model_type": "qwen2", **_decoder(tokenizer)},
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    images = transformers.GotOcr2ImageProcessor(size=_SIZE, crop_to_patches=True, max_patches=3)
    processor = transformers.InternVLProcessor(
        images,
        tokenizer,
        transformers.InternVLVideoProcessor(size=_SIZE),
        image_seq_length=4,
        chat_template=_CHAT.replace("<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>\n"),
    )
    return transformers.InternVLForConditionalGeneration(config), processor


def _idefics3() -> tuple[Any, Any]:
    """A picture is 4 tokens for each of its parts and for the whole of it."""
    tokenizer = _bytes("<|im_start|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>", pad_token="<pad>")
    images = transformers.Idefics3ImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": SIDE})
    processor = transformers.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=_UTTERANCES)
    config = transformers.Idefics3Config(**_in_parts(tokenizer))
    return transformers.Idefics3ForConditionalGeneration(config), processor


def _smolvlm() -> tuple[Any, Any]:
    """Idefics3 again; its processor asks for the package num2words."""
    tokenizer = _bytes("<|im_start|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>", pad_token="<pad>")
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": SIDE}}
    processor = transformers.SmolVLMProcessor(
        transformers.SmolVLMImageProcessor(**sizes),
        tokenizer,
        transformers.SmolVLMVideoProcessor(**sizes),
        image_seq_len=4,
        chat_template=_UTTERANCES,
    )
    config = transformers.SmolVLMConfig(**_in_parts(tokenizer))
    return transformers.SmolVLMForConditionalGeneration(config), processor


def _paligemma2() -> tuple[Any, Any]:
    """A picture is 16 tokens; there is no chat template."""
    images = transformers.SiglipImageProcessor(size=_SIZE, image_seq_length=16)
    processor = transformers.PaliGemmaProcessor(images, _bytes("<bos>", pad_token="<pad>"))
    tokenizer = processor.tokenizer
    config = transformers.PaliGemmaConfig(
        text_config={"model_type": "gemma2", **_decoder(tokenizer), "head_dim": 8, "query_pre_attn_scalar": 8},
        vision_config={"model_type": "siglip_vision_model", **_vision(), "vision_use_head": False},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=16,
        hidden_size=16,
    )
    return transformers.PaliGemmaForConditionalGeneration(config), processor


def _in_parts(tokenizer: Any) -> dict[str, Any]:
    """The configuration of an Idefics3 or a SmolVLM."""
    return {
        "text_config": {"model_type": "llama", **_decoder(tokenizer)},
        "vision_config": _vision(),
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "scale_factor": 2,
        "pad_token_id": tokenizer.pad_token_id,
    }


_IMAGES = {"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"}
_GENERATING = (
    "{{ bos_token }}{% for message in messages %}<|User|>: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image_placeholder>{% else %}{{ part['text'].strip() }}{% endif %}{% endfor %}"
    "{{ '\n\n' }}{% endfor %}{% if add_generation_prompt %}<|Assistant|>:{% endif %}"
)
_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_UTTERANCES = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}:{% else %}: {% endif %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
_MARKS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<|im_start|>", "<|im_end|>")


def _looking() -> Any:
    """Qwen's processor for pictures of some hundred pixels."""
    images = transformers.Qwen2VLImageProcessor(patch_size=8, merge_size=2, min_pixels=16 * 16, max_pixels=48 * 48)
    video = transformers.Qwen2VLVideoProcessor(patch_size=8)
    return transformers.Qwen2_5_VLProcessor(images, _bytes(None, *_MARKS), video, chat_template=_CHAT)


def _rotary(sections: list[int]) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": sections}
    return {**_decoder(_bytes(None, *_MARKS)), "rope_parameters": rope}


def _marks(processor: Any) -> dict[str, int]:
    names = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    ids = (processor.tokenizer.convert_tokens_to_ids(mark) for mark in _MARKS)
    return dict(zip(names, ids, strict=False))


def _language() -> dict[str, Any]:
    return {**_decoder(_bytes(None)), "head_dim": 8}


def _decoder(tokenizer: Any) -> dict[str, Any]:
    """A small language model that reads 512 tokens."""
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512}
    return {**_SHAPE, **heads, "vocab_size": len(tokenizer), **_ends(tokenizer)}


def _bytes(beginning: str | None, *more: str, **named: Any) -> Any:
    """Qwen's tokenizer, a token per byte and one for "Yes"."""
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokens = [*sorted(letters), "Ye", "Yes", "ĠYes"]
    tokenizer = transformers.Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=[("Y", "e"), ("Ye", "s"), ("Ġ", "Yes")],
        bos_token=beginning,
        **named,
    )
    tokenizer.add_special_tokens({"additional_special_tokens": list(more)})
    return tokenizer


def _ends(tokenizer: Any) -> dict[str, int | None]:
    return {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def _vision() -> dict[str, Any]:
    return {**_SHAPE, "image_size": SIDE, "patch_size": 8, "initializer_range": 0.02}  # a BLIP's default is 1e-10


def _text(tokenizer: Any) -> dict[str, Any]:
    return {**_SHAPE, **_ends(tokenizer), "vocab_size": len(tokenizer), "max_position_embeddings": LENGTH}


def _letters() -> Any:
    """SigLIP 2's tokenizer, a token per letter, in lower case; it pads on the left unless it is told not to."""
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_lowercase, *string.ascii_uppercase]
    return transformers.Siglip2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)}, merges=[], add_eos_token=True
    )


def _words() -> Any:
    """BERT's tokenizer, a token per word."""
    tokens = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS.split(), *string.ascii_lowercase])
    return transformers.BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})


_MADE = {
    "clip": _clip,
    "metaclip2": _metaclip2,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "blip": _blip,
    "blip-2": _blip2,
    "qwen3": _qwen3,
    "gpt2": _gpt2,
    "qwen2-vl": _qwen2_vl,
    "qwen2.5-vl": _qwen2_5_vl,
    "qwen3-vl": _qwen3_vl,
    "janus": _janus,
    "llava-onevision": _llava_onevision,
    "internvl": _internvl,
    "idefics3": _idefics3,
    "smolvlm": _smolvlm,
    "paligemma2": _paligemma2,
}
