"""The main command on the layouts that its models and data have on the hub: fetched, kept, read again offline."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import open_clip
import pytest

import published_layouts as published
from compbench.cli.app import main
from compbench.store.store import Store
from loopback_hub import LoopbackHub, loopback_hub, used_here
from winoground_files import ROWS, encoded

COMMAND = ["run", "winoground", "--model", "sd2", "--model", "clip-vit-l-14", "--model", "openclip-vit-h-14"]
# a small U-Net in float32 and few draws: the layouts are the point, not the numbers
REDUCED = ["-o", "sd2.size_px=64", "-o", "sd2.dtype=float32", "--device", "cpu"]
READER, STRANGER = "hf_reader", "hf_stranger"

EXPECTED = sorted(
    [
        f"{published.WINOGROUND}/data/test-00000-of-00001.parquet",
        f"{published.CLIP_L}/open_clip_model.safetensors",
        f"{published.CLIP_H}/open_clip_model.safetensors",
        *(
            f"{published.SD2}/{name}"
            for name in (
                "model_index.json",
                "scheduler/scheduler_config.json",
                "text_encoder/config.json",
                "text_encoder/model.safetensors",
                "tokenizer/merges.txt",
                "tokenizer/special_tokens_map.json",
                "tokenizer/tokenizer_config.json",
                "tokenizer/vocab.json",
                "unet/config.json",
                "unet/diffusion_pytorch_model.safetensors",
                "vae/config.json",
                "vae/diffusion_pytorch_model.safetensors",
            )
        ),
    ]
)


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, published.Files]]:
    """The files of all four repositories; open_clip's two architectures are small meanwhile."""
    folder = tmp_path_factory.mktemp("published")
    before, paths = dict(open_clip.factory._MODEL_CONFIGS), list(open_clip.factory._MODEL_CONFIG_PATHS)
    published.register_small_clips(folder / "configs")
    rows: list[dict[str, Any]] = [
        row | {f"image_{side}": {"bytes": encoded(row["id"], side), "path": f"{side}.png"} for side in (0, 1)}
        for row in ROWS[:3]
    ]
    yield {
        "sd2": published.sd2(folder / "sd2"),
        "sd2 as of today": published.with_names_of_today(folder / "sd2"),
        "clip-l": published.clip("ViT-L-14", "openai", folder / "clip-l"),
        "clip-h": published.clip("ViT-H-14", "laion2b_s32b_b79k", folder / "clip-h"),
        "winoground": published.winoground(rows),
    }
    open_clip.factory._MODEL_CONFIGS.clear()
    open_clip.factory._MODEL_CONFIGS.update(before)
    open_clip.factory._MODEL_CONFIG_PATHS[:] = paths


@pytest.fixture
def hub(
    repositories: dict[str, published.Files], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LoopbackHub]:
    """A hub with what the command needs; the user may read Winoground."""
    with loopback_hub() as hub:
        hub.add("models", published.SD2, repositories["sd2"], published.SD2_COMMIT)
        hub.add("models", published.CLIP_L, repositories["clip-l"])
        hub.add("models", published.CLIP_H, repositories["clip-h"])
        hub.add(
            "datasets", published.WINOGROUND, repositories["winoground"], published.WINOGROUND_COMMIT, is_gated=True
        )
        hub.readers.add(READER)
        hub.strangers.add(STRANGER)
        with used_here(hub, tmp_path, monkeypatch):
            monkeypatch.setenv("HF_TOKEN", READER)
            yield hub


def run(runs: Path, *more: str, draws: int = 4) -> int:
    """The command in this process; what --offline sets in the environment is taken back."""
    try:
        return main([*COMMAND, *REDUCED, "-o", f"sd2.draws={draws}", "--full", "--runs", str(runs), *more])
    finally:
        os.environ.pop("HF_HUB_OFFLINE", None)


def table(printed: str) -> list[str]:
    """The scores and the signatures, without the times and the places."""
    scores = printed.partition("network evaluations")[0].splitlines()
    return scores + [line for line in printed.splitlines() if line.startswith("task:winoground@")]


def measured(runs: Path, model: str) -> dict[str, list[float]]:
    """All that is stored of a model: its errors by example, or its scores."""
    stored = Store(runs).find(f"winoground/{model}")
    if errors := stored.measurements():
        return {name: measurement.errors["l2"].ravel().tolist() for name, measurement in errors.items()}
    found = stored.table()
    return dict(zip(found.ids, found.scores.reshape(len(found.ids), -1).tolist(), strict=True))


@pytest.mark.slow
def test_the_main_command_cold_warm_and_offline(
    hub: LoopbackHub, repositories: dict[str, published.Files], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "cold") == 0
    cold = capsys.readouterr()
    assert hub.fetched() == EXPECTED
    assert hub.tokens_at_storage == []  # the token is the hub's alone
    assert all(f"{label} " in cold.out for label in ("sd2", "clip-vit-l-14", "openclip-vit-h-14"))
    for said in (
        f"fetching {published.SD2}: 8 files, ",  # beside the four configurations that told what it is
        f"fetching {published.CLIP_L}: open_clip_model.safetensors, ",
    ):
        assert cold.err.count(said) == 1
    for label in ("sd2", "clip-vit-l-14", "openclip-vit-h-14"):
        assert cold.err.count(f"loading {label}") == 1
    assert "%|" not in cold.err  # no bar of a library

    hub.forget()
    assert run(tmp_path / "warm") == 0  # another folder of runs: all is measured again
    warm = capsys.readouterr()
    assert hub.requests == [f"GET /api/models/{name}/revision/main" for name in (published.CLIP_L, published.CLIP_H)]
    assert table(warm.out) == table(cold.out)
    assert "loading sd2 (" in warm.err
    assert "fetching" not in warm.err

    hub.forget()
    assert run(tmp_path / "offline", "--offline") == 0
    offline = capsys.readouterr()
    assert hub.requests == []
    assert table(offline.out) == table(cold.out)
    for model in ("sd2", "clip-vit-l-14", "openclip-vit-h-14"):
        stored = measured(tmp_path / "cold", model)
        assert len(stored) == 3
        assert stored == measured(tmp_path / "warm", model) == measured(tmp_path / "offline", model)

    for name, content in repositories["sd2 as of today"].items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(content)
    assert run(tmp_path / "copied", "--offline", "-o", f"sd2.folder={tmp_path / 'copy'}") == 0
    # tensors by the names of 2022 and by those of today are the same network
    assert measured(tmp_path / "copied", "sd2") == measured(tmp_path / "cold", "sd2")

    assert run(tmp_path / "offline", "--offline", "-o", "clip-vit-l-14.dtype=bfloat16", draws=6) == 0
    assert hub.requests == []


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (None, "is gated and no Hugging Face token was found: accept its terms at https://huggingface.co/datasets/"),
        (STRANGER, "is gated and your account has not been given access: open https://huggingface.co/datasets/"),
    ],
)
def test_gated_data_without_access_is_told_before_any_weights_are_fetched(
    hub: LoopbackHub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    token: str | None,
    told: str,
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    assert run(tmp_path / "runs") == 1
    assert f"error: data set 'facebook/winoground' {told}" in capsys.readouterr().err
    assert hub.fetched() == [f"{published.WINOGROUND}/data/test-00000-of-00001.parquet"]
    assert not (tmp_path / "runs").exists()


def test_a_repository_with_pickled_weights_alone_is_read_too(
    hub: LoopbackHub, repositories: dict[str, published.Files], tmp_path: Path
) -> None:
    import io

    import safetensors.torch
    import torch

    weights = safetensors.torch.load(repositories["clip-h"]["open_clip_model.safetensors"])
    sink = io.BytesIO()
    torch.save(weights, sink)
    files = {name: file for name, file in repositories["clip-h"].items() if name != "open_clip_model.safetensors"}
    hub.add("models", published.CLIP_H, files | {"open_clip_pytorch_model.bin": sink.getvalue()})
    command = ["run", "winoground", "-m", "openclip-vit-h-14", "--device", "cpu", "--runs", str(tmp_path / "runs")]
    assert main(command) == 0
    assert f"{published.CLIP_H}/open_clip_pytorch_model.bin" in hub.fetched()
    hub.forget()
    assert main([*command[:-1], str(tmp_path / "again"), "--offline"]) == 0
    assert hub.requests == []


@pytest.mark.slow
def test_in_processes_of_their_own_the_environment_decides(hub: LoopbackHub, tmp_path: Path) -> None:
    """huggingface_hub reads HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE when it is imported."""
    code = (
        "import sys\n"
        "import published_layouts\n"
        "from pathlib import Path\n"
        f"published_layouts.register_small_clips(Path({str(tmp_path / 'configs')!r}))\n"
        "from compbench.cli.app import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = kept | {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_TOKEN": READER,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    told: list[list[str]] = []
    for runs, more in (("online", {}), ("offline", {"HF_HUB_OFFLINE": "1"})):
        hub.forget()
        arguments = [*COMMAND, *REDUCED, "-o", "sd2.draws=4", "--full", "--runs", str(tmp_path / runs)]
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=environment | more,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert bool(hub.requests) == (runs == "online")
        assert "Traceback" not in done.stderr
        told.append(table(done.stdout))
    assert told[0] == told[1]
