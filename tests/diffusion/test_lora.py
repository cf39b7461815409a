"""`-o lora=`: a LoRA of each family that has them, added to the weights, against the same sum written out."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from compbench import registry
from compbench.cli.app import main
from compbench.core.errors import DataError, UsageError
from compbench.core.models import Runtime
from loopback_hub import LoopbackHub, loopback_hub, used_here

USUAL = "pytorch_lora_weights.safetensors"


@dataclass
class Trained:
    """Two matrices for some layers of a family, and the sum that they stand for."""

    layers: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def add(self, name: str, weight: Tensor, rank: int = 2) -> None:
        generator = torch.Generator().manual_seed(len(self.layers))
        a = torch.randn(rank, *weight.shape[1:], generator=generator) * 0.3
        b = torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator) * 0.3
        self.layers[name] = (a, b)

    def update(self, name: str) -> Tensor:
        a, b = self.layers[name]
        return torch.einsum("or,r...->o...", b.reshape(len(b), -1), a)


def built(folder: Path, **options: Any) -> Any:
    _, spec = registry.model(f"diffusion:{folder}", {"dtype": "float32", "size_px": 32, **options})
    return spec.build(spec.source(), Runtime("cpu", 2)).denoiser.parts  # type: ignore[attr-defined]


def weights(parts: Any) -> dict[str, Tensor]:
    return {
        f"{part}.{name}": tensor.clone()
        for part, module in parts.trained.items()
        for name, tensor in module.state_dict().items()
    }


# some layers of each family: of attention, of a convolution where there is one, of a text encoder
LAYERS = {
    "sdxl": (
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_q",
        "unet.mid_block.resnets.0.conv1",
        "text_encoder_2.encoder.layers.1.self_attn.q_proj",
    ),
    "sd3": ("transformer.transformer_blocks.0.attn.to_k", "text_encoder.encoder.layers.0.self_attn.v_proj"),
    "flux-dev": (
        "transformer.transformer_blocks.0.attn.add_q_proj",
        "transformer.single_transformer_blocks.0.proj_mlp",
        "text_encoder.encoder.layers.0.mlp.fc1",
    ),
}


@pytest.fixture(params=LAYERS)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


def layer_of(name: str, held: dict[str, Tensor]) -> str:
    """Its name in a network of whichever version of transformers."""
    part, _, layer = name.partition(".")
    return name if f"{name}.weight" in held else f"{part}.text_model.{layer}"


def trained_on(folder: Path, names: tuple[str, ...]) -> tuple[Trained, dict[str, Tensor]]:
    held, lora = weights(built(folder)), Trained()
    for name in names:
        lora.add(layer_of(name, held), held[f"{layer_of(name, held)}.weight"])
    return lora, held


def as_peft(lora: Trained) -> dict[str, Tensor]:
    """The names that diffusers writes today."""
    return {
        f"{name}.lora_{word}.weight": matrix
        for name, pair in lora.layers.items()
        for word, matrix in zip("AB", pair, strict=True)
    }


def check_sum(folder: Path, file: Path, lora: Trained, held: dict[str, Tensor], scale: float) -> None:
    changed = weights(built(folder, lora=str(file)))
    for name, tensor in held.items():
        layer = name.removesuffix(".weight")
        update = scale * lora.update(layer) if layer in lora.layers and name.endswith("weight") else 0.0
        torch.testing.assert_close(changed[name], tensor + update, msg=name)


def test_its_weights_are_those_of_the_model_and_the_product_of_its_matrices(
    folder_of: Callable[[str], Path], family: str, tmp_path: Path
) -> None:
    lora, held = trained_on(folder_of(family), LAYERS[family])
    save_file(as_peft(lora), tmp_path / USUAL)
    check_sum(folder_of(family), tmp_path, lora, held, 1.0)
    settings = {f"{part}.{key}": value for part in ("unet", "transformer", "text_encoder", "text_encoder_2")
                for key, value in (("r", 2), ("lora_alpha", 8))}  # fmt: skip
    save_file(as_peft(lora), tmp_path / "other.safetensors", {"lora_adapter_metadata": json.dumps(settings)})
    check_sum(folder_of(family), tmp_path / "other.safetensors", lora, held, 4.0)


def test_one_of_kohya_s_trainer_is_read_with_its_alpha(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    names = (
        "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_q",
        "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",
        "unet.down_blocks.1.attentions.0.proj_in",
        "text_encoder.encoder.layers.0.mlp.fc1",
        "text_encoder_2.encoder.layers.1.self_attn.k_proj",
    )
    lora, held = trained_on(folder_of("sdxl"), names)
    state: dict[str, Tensor] = {}
    starts = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    for name, (a, b) in lora.layers.items():
        part, _, layer = name.partition(".")
        is_short = part != "unet" and not layer.startswith("text_model.")
        kohya = starts[part] + ("text_model_" if is_short else "") + layer.replace(".", "_")
        state |= {f"{kohya}.lora_down.weight": a, f"{kohya}.lora_up.weight": b, f"{kohya}.alpha": torch.tensor(1.0)}
    save_file(state, tmp_path / "kohya.safetensors")
    check_sum(folder_of("sdxl"), tmp_path / "kohya.safetensors", lora, held, 0.5)


def test_a_lora_is_part_of_its_run_by_its_contents_alone(
    small_sd_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora, _ = trained_on(small_sd_folder, ())
    held = weights(built(small_sd_folder))
    layer = next(name.removesuffix(".weight") for name in held if name.endswith("attn2.to_q.weight"))
    lora.add(layer, held[f"{layer}.weight"])
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        save_file(as_peft(lora), tmp_path / place / f"{place}.safetensors")
    where = ["-o", "draws=2", "--limit", "2", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    command = ["run", "shapes", "-m", f"diffusion:{small_sd_folder}", *where]
    assert main(command) == 0
    assert main([*command, "-o", f"lora={tmp_path / 'here'}"]) == 0
    assert len(list((tmp_path / "runs").glob("shapes/*/*"))) == 2
    before = {place: place.stat().st_mtime_ns for place in (tmp_path / "runs").rglob("*.parquet")}
    assert main([*command, "-o", f"lora={tmp_path / 'there' / 'there.safetensors'}"]) == 0  # from the store
    assert {place: place.stat().st_mtime_ns for place in (tmp_path / "runs").rglob("*.parquet")} == before
    save_file(as_peft(Trained({layer: tuple(2 * matrix for matrix in lora.layers[layer])})),  # type: ignore[misc]
              tmp_path / "there" / "there.safetensors")  # fmt: skip
    assert main([*command, "-o", f"lora={tmp_path / 'there'}"]) == 0
    assert len(list((tmp_path / "runs").glob("shapes/*/*"))) == 3
    capsys.readouterr()


# what is refused


def refused(folder: Path, state: dict[str, Tensor], tmp_path: Path) -> str:
    save_file(state, tmp_path / USUAL)
    with pytest.raises((DataError, UsageError)) as caught:
        built(folder, lora=str(tmp_path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_lora_that_does_not_fit_says_what_lacks(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder, a, b = folder_of("sd3"), torch.zeros(2, 16), torch.zeros(16, 2)
    block = "transformer.transformer_blocks"
    absent = {f"{block}.7.attn.to_q.lora_A.weight": a, f"{block}.7.attn.to_q.lora_B.weight": b}
    assert "1 that it does not have (transformer_blocks.7.attn.to_q); it was trained" in refused(
        folder, absent, tmp_path
    )
    wide = {f"{block}.0.attn.to_q.lora_A.weight": torch.zeros(2, 24), f"{block}.0.attn.to_q.lora_B.weight": b}
    assert "1 of another shape (transformer_blocks.0.attn.to_q (16, 24) for (16, 16))" in refused(
        folder, wide, tmp_path
    )
    lone = {f"{block}.0.attn.to_q.lora_A.weight": a}
    assert "not a pair of matrices (no transformer_blocks.0.attn.to_q.lora_B.weight)" in refused(folder, lone, tmp_path)
    other = {"unet.mid.lora_A.weight": a, "unet.mid.lora_B.weight": b}
    assert "2 of 2 tensors for no part of model" in refused(folder, other, tmp_path)
    wild = {f"{block}.0.attn.to_q.lora_A.weight": a + torch.nan, f"{block}.0.attn.to_q.lora_B.weight": b}
    assert "NaN or infinity" in refused(folder, wild, tmp_path)
    tall = {**absent, f"{block}.7.attn.to_q.lora_B.weight": torch.zeros(16, 3)}
    tall = {name.replace(".7.", ".0."): tensor for name, tensor in tall.items()}
    assert "1 of another shape" in refused(folder, tall, tmp_path)
    whole = {name: torch.zeros(tensor.shape, dtype=torch.int8) for name, tensor in absent.items()}
    assert "2 of 2 tensors that are not floating point" in refused(folder, whole, tmp_path)
    assert "holds no tensor" in refused(folder, {}, tmp_path)
    dora = {**lone, f"{block}.0.attn.to_q.lora_magnitude_vector": b}
    assert "of a DoRA, LoKr or LoHa" in refused(folder, dora, tmp_path)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("[1", "cannot be read: Expecting"),
        ("[1]", "its lora_adapter_metadata is not a JSON object"),
        ('{"transformer.lora_alpha": 1, "transformer.alpha_pattern": {"(": 1}}', "missing ), unterminated subpattern"),
    ],
)
def test_settings_that_cannot_be_read_are_told(
    folder_of: Callable[[str], Path], tmp_path: Path, settings: str, reason: str
) -> None:
    lora, _ = trained_on(folder_of("sd3"), LAYERS["sd3"])
    save_file(as_peft(lora), tmp_path / USUAL, {"lora_adapter_metadata": settings})
    with pytest.raises(DataError, match=re.escape(reason)):
        built(folder_of("sd3"), lora=str(tmp_path))


def test_a_pattern_of_alphas_holds_for_whole_names_of_layers(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    names = ("transformer.transformer_blocks.0.attn.to_k", "transformer.transformer_blocks.1.attn.add_k_proj")
    lora, held = trained_on(folder_of("sd3"), names)
    settings = {"transformer.lora_alpha": 2, "transformer.alpha_pattern": {"k|to_q|k_proj": 8}}  # no whole name of ours
    save_file(as_peft(lora), tmp_path / USUAL, {"lora_adapter_metadata": json.dumps(settings)})
    check_sum(folder_of("sd3"), tmp_path / USUAL, lora, held, 1.0)


def test_a_folder_without_a_lora_or_with_several_is_told(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    folder = folder_of("sd3")
    with pytest.raises((DataError, UsageError), match="holds no LoRA in safetensors"):
        built(folder, lora=str(tmp_path))
    for name in "ab":
        save_file({"x": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(UsageError, match=r"holds 2 files of weights \(a.safetensors, b.safetensors\); name the one"):
        built(folder, lora=str(tmp_path))
    (tmp_path / "lora.ckpt").touch()
    with pytest.raises(UsageError, match="safetensors alone"):
        built(folder, lora=str(tmp_path / "lora.ckpt"))
    with pytest.raises(UsageError, match=r"no file or folder './nowhere' for its LoRA"):
        built(folder, lora="./nowhere")


def test_a_family_that_diffusers_has_no_loader_for_takes_none(folder_of: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="diffusers has no loader for those of its family"):
        built(folder_of("pixart-sigma"), lora="org/name")


# on the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    with loopback_hub() as hub, used_here(hub, tmp_path, monkeypatch):
        yield hub


def test_a_lora_of_the_hub_is_fetched_alone_and_found_again_offline(
    hub: LoopbackHub, small_sd_folder: Path, tmp_path: Path
) -> None:
    held, lora = weights(built(small_sd_folder)), Trained()
    layer = next(name.removesuffix(".weight") for name in held if name.endswith("attn2.to_q.weight"))
    lora.add(layer, held[f"{layer}.weight"])
    save_file(as_peft(lora), tmp_path / USUAL)
    content = (tmp_path / USUAL).read_bytes()
    hub.add("models", "org/lora", {USUAL: content, "README.md": b"#", "optimizer.safetensors": b"no"})
    copied = shutil.copytree(small_sd_folder, tmp_path / "model")
    where = ["-o", "draws=1", "--limit", "1", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    command = ["run", "shapes", "-m", f"diffusion:{copied}", "-o", "lora=org/lora", *where]
    assert main(command) == 0
    assert hub.fetched() == [f"org/lora/{USUAL}"]
    hub.forget()
    assert main([*command, "--offline"]) == 0
    assert hub.requests == []
    (place,) = (tmp_path / "runs").glob("shapes/*/*")
    assert json.loads((place / "run.json").read_text())["key"]["measurement"]["lora"].startswith("sha256:")
