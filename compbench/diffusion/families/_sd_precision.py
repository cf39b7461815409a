"""The dtypes of the parts that read pictures and captions, by a model's settings. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compbench.core.errors import UsageError

if TYPE_CHECKING:
    from compbench.diffusion.families.stable_diffusion import StableDiffusion

__all__ = ["check_precision", "encoders_dtype", "held_in"]


def encoders_dtype(settled: StableDiffusion) -> str:
    """The dtype that the encoders have unless another is asked for."""
    return "float32" if settled.protocol == "compbench" or settled.is_later_family else settled.dtype


def held_in(vae_dtype: str, encoders: str) -> str:
    """The dtype that an autoencoder's weights are held in.

    >>> held_in("auto", "float16"), held_in("tf32", "float16"), held_in("bfloat16", "float32")
    ('float16', 'float32', 'bfloat16')
    """
    return {"auto": encoders, "tf32": "float32"}.get(vae_dtype, vae_dtype)


def check_precision(spec: StableDiffusion) -> None:
    """UsageError for a dtype that the protocol excludes."""
    for option in ("dtype", "vae_dtype"):
        value = getattr(spec, option)
        if spec.protocol == "published-fp16" and value not in ("auto", "float16"):
            raise UsageError(
                f"model {spec.name!r}: protocol=published-fp16 is float16 throughout and cannot have {option}={value}; "
                "protocol=paper allows any dtype"
            )
