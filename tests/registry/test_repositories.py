"""Repositories on a hub of this machine: what is fetched, what never is, and what a dry run knows beforehand."""

import hashlib
import json
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import compbench
from compbench.cli.app import main
from compbench.core.errors import DataError
from compbench.diffusion.families.addresses import stable_diffusion_at
from compbench.diffusion.families.stable_diffusion import TINY_SD
from compbench.registry import repositories
from compbench.runs.harness import plan
from compbench_baselines.classifiers.torchvision import RESNET18
from compbench_baselines.clip.models import TINY_CLIP

COMMIT = "c" * 40
WEIGHTS = ".safetensors"


class Hub(BaseHTTPRequestHandler):
    """Answers as huggingface_hub asks: a model's info, its tree, and its files."""

    root: Path
    fetched: list[str]

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = urlsplit(self.path).path
        if path.startswith("/api/models/"):
            org, name, *rest = path.removeprefix("/api/models/").split("/")
            files = self.files(self.root / org / name)
            if not files:
                self.answer(b"{}", {"X-Error-Code": "RepoNotFound"}, 404)
            elif rest[:1] == ["tree"]:
                listed = [{"type": "file", "path": path, "size": n, "oid": "0" * 40} for path, n in files.items()]
                self.answer(json.dumps(listed).encode())
            else:
                siblings = [{"rfilename": path, "size": n} for path, n in files.items()]
                self.answer(json.dumps({"id": f"{org}/{name}", "sha": COMMIT, "siblings": siblings}).encode())
        else:
            repo, _, name = path[1:].partition(f"/resolve/{COMMIT}/")
            if self.command == "GET":
                self.fetched.append(f"{repo}/{name}")
            if not (self.root / repo / name).is_file():
                self.answer(b"", {"X-Repo-Commit": COMMIT, "X-Error-Code": "EntryNotFound"}, 404)
                return
            content = (self.root / repo / name).read_bytes()
            etag = hashlib.sha256(content).hexdigest()
            self.answer(content, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})

    def files(self, folder):
        return {
            path.relative_to(folder).as_posix(): path.stat().st_size for path in folder.rglob("*") if path.is_file()
        }

    def answer(self, content, headers=None, status=200):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format, *args): ...


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that serves tmp_path/hub/org/name, and this process made to ask it."""
    handler = type("ThisHub", (Hub,), {"root": tmp_path / "hub", "fetched": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    (tmp_path / "hub" / "org").mkdir(parents=True)
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def published(hub, source, name="name"):
    return shutil.copytree(source, hub.root / "org" / name)


def sdxl(hub):
    folder = hub.root / "org" / "sdxl"
    parts = {part: ["diffusers", "X"] for part in ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer_2")}
    for part in parts:
        (folder / part).mkdir(parents=True)
        (folder / part / "config.json").write_text("{}")
        (folder / part / "diffusion_pytorch_model.safetensors").write_bytes(b"eleven gigabytes")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"} | parts))
    return folder


@pytest.mark.parametrize("is_dry", [True, False])
def test_sdxl_is_named_before_a_weight_is_fetched(hub, is_dry, tmp_path, capsys):
    sdxl(hub)
    arguments = ["run", "shapes", "-m", f"sd:org/sdxl@{COMMIT}", "--limit", "1", "--runs", str(tmp_path / "runs")]
    assert main([*arguments, *(["--dry-run"] if is_dry else [])]) == 1
    assert "is a StableDiffusionXLPipeline: SDXL, which --model diffusion:" in capsys.readouterr().err
    assert not any(name.endswith(WEIGHTS) for name in hub.fetched)


def test_a_model_that_cannot_be_run_does_not_hide_what_the_others_cost(hub, tmp_path, capsys):
    sdxl(hub)
    models = ["-m", f"sd:org/sdxl@{COMMIT}", "-m", "chance"]
    assert main(["run", "shapes", *models, "--limit", "2", "--runs", str(tmp_path / "runs"), "--dry-run"]) == 1
    printed = capsys.readouterr()
    assert "chance" in printed.out
    assert "SDXL, which" in printed.err.splitlines()[-1]


def test_pickles_alone_are_refused_before_they_are_fetched(hub, tmp_path, capsys):
    folder = published(hub, TINY_SD.repo)
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_suffix(".bin"))
    assert main(["run", "shapes", "-m", f"sd:org/name@{COMMIT}", "--limit", "1", "--dry-run"]) == 1
    assert "safe_serialization=True" in capsys.readouterr().err
    assert not any(name.endswith(".bin") for name in hub.fetched)


def test_a_dry_run_knows_the_bytes_to_fetch_and_fetches_none(hub, tmp_path, capsys):
    folder = published(hub, TINY_SD.repo)
    (folder / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"twin" * 1000)
    (folder / "v1.safetensors").write_bytes(b"another copy" * 1000)
    planned = plan("shapes", model=f"sd:org/name@{COMMIT}", limit=1, runs=tmp_path / "runs")
    assert planned.fetch_bytes is not None
    here = plan("shapes", model=TINY_SD, limit=1, draws=100, runs=tmp_path / "runs")
    assert (planned.evaluations, planned.tflops) == (here.evaluations, here.tflops)  # counted on the configuration
    assert planned.seconds is None
    small = sum((folder / name).stat().st_size for name in ("unet/config.json", "vae/config.json", "model_index.json"))
    whole = sum(path.stat().st_size for path in Path(TINY_SD.repo).rglob("*") if path.is_file())
    assert whole - small - 1000 <= planned.fetch_bytes <= whole
    assert not any(name.endswith(WEIGHTS) for name in hub.fetched)


def test_fp16_weights_alone_are_fetched_scored_and_found_again_without_the_hub(hub, tmp_path, capsys):
    folder = published(hub, TINY_SD.repo)
    for file in folder.rglob("*.safetensors"):
        file.rename(file.with_name(file.name.replace(WEIGHTS, f".fp16{WEIGHTS}")))
    asked = {"model": f"sd:org/name@{COMMIT}", "limit": 1, "draws": 1, "seed": 0, "dtype": "float32"}
    run = compbench.run("shapes", **asked, runs=tmp_path / "runs")
    assert run.key.weights == f"hf:org/name@{COMMIT}"
    assert "from the fp16 weights" in capsys.readouterr().err
    again = compbench.run("shapes", **asked, runs=tmp_path / "others", is_offline=True)
    assert again.key == run.key
    local = compbench.run("shapes", model=TINY_SD, draws=1, limit=1, runs=tmp_path / "runs")
    assert run.table().scores.tolist() == local.table().scores.tolist()  # on disk tiny-sd is fp16


def test_weights_changed_in_the_hubs_cache_are_not_taken_for_the_published_ones(hub, tmp_path):
    published(hub, TINY_SD.repo)
    source = stable_diffusion_at(f"org/name@{COMMIT}").source()
    folder = repositories.fetch_opened(source, is_offline=False)
    assert repositories.fetch_opened(source, is_offline=True) == folder
    blob = (folder / "unet" / "diffusion_pytorch_model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with pytest.raises(DataError, match=r"unet/diffusion_pytorch_model.safetensors in the hub's cache is damaged"):
        repositories.fetch_opened(source, is_offline=True)
    blob.unlink()
    repositories.fetch_opened(source, is_offline=False)


def test_an_open_clip_repository_is_priced_by_its_file_list(hub, tmp_path):
    folder = published(hub, TINY_CLIP.repo, "clip")
    planned = plan("shapes", model=f"open-clip:hf-hub:org/clip@{COMMIT}", limit=1, runs=tmp_path / "runs")
    assert planned.fetch_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert hub.fetched == []


def test_the_bytes_of_weights_that_other_libraries_fetch_are_told_and_not_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert 40e6 < RESNET18.bytes_to_fetch() < 50e6
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / RESNET18.file).write_bytes(b"here")
    assert RESNET18.bytes_to_fetch() == 0


def test_a_dry_run_fetches_no_data_set(hub, tmp_path, capsys):
    published(hub, TINY_SD.repo)
    arguments = ["run", "winoground", "-m", f"sd:org/name@{COMMIT}", "-m", "tiny-sd", "--runs", str(tmp_path / "runs")]
    assert main([*arguments, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "its data is not here and a dry run fetches none" in printed
    assert "MB" in printed
    assert not any("winoground" in name or name.endswith(WEIGHTS) for name in hub.fetched)
    with pytest.raises(DataError, match=r"has no unet|was not found"):
        repositories.fetch_opened(stable_diffusion_at(f"org/none@{COMMIT}").source(), is_offline=False)


def test_an_old_configuration_is_scored_as_diffusers_corrects_it_and_the_former_size_is_a_choice(tmp_path, capsys):
    folder = shutil.copytree(TINY_SD.repo, tmp_path / "old")
    config = json.loads((folder / "unet" / "config.json").read_text()) | {"_diffusers_version": "0.6.0"}
    (folder / "unet" / "config.json").write_text(json.dumps(config))
    asked = {"model": f"sd:{folder}", "limit": 1, "draws": 1, "seed": 0, "dtype": "float32", "runs": tmp_path / "runs"}
    corrected = compbench.run("shapes", **asked)
    assert corrected.key.measurement["size_px"] == 512
    assert "scored at 512 px, as diffusers corrects it. -o size_px=64" in capsys.readouterr().err
    former = compbench.run("shapes", **asked, size_px=64)
    assert "size_px" not in former.key.measurement
    shipped = compbench.run("shapes", model=TINY_SD, draws=1, limit=1, runs=tmp_path / "runs")
    assert former.table().scores.tolist() == shipped.table().scores.tolist()
    assert corrected.table().scores.tolist() != shipped.table().scores.tolist()
