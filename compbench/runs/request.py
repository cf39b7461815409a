"""RunRequest: the one list of settings. The command's options, a grid file's keys and the keywords of `run` and `plan`
are its fields.
"""

import inspect
import math
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from compbench.core.errors import UsageError

if TYPE_CHECKING:
    from compbench.core.examples import Task
    from compbench.core.models import ModelSpec
    from compbench.registry.names import NamedSpec

__all__ = ["Keep", "RunRequest", "check_device", "setting", "takes_settings"]

Called = TypeVar("Called", bound=Callable[..., Any])
Keep = Literal["errors", "scores"]
_COUNT = {"is_count": True}
_WORKERS = re.compile(r"none|ray(:[1-9]\d*)?")
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRequest:
    """All that a user asks for with `run` or `plan`; UsageError for a setting that cannot be, before anything is read.

    The annotations are real types, not text: the command makes its options of them, spelled as the metadata say where
    a name does not tell.
    """

    task: "str | Path | Task"
    model: "str | ModelSpec | NamedSpec | Any"  # or an object of which the registry makes a spec
    options: Mapping[str, object] = field(default_factory=dict[str, object])  # of the model
    name: str | None = field(
        default=None,
        metadata={
            "help": "Name of your own model in tables; listed models have one.",
            "in_python": True,
        },
    )
    data: Path | str | None = field(
        default=None, metadata={"help": "A local copy of the task's data.", "metavar": "PATH"}
    )
    images: Path | str | None = field(
        default=None,
        metadata={
            "help": "The folder of a task's pictures, if it is not with the data, such as COCO's val2017.",
            "metavar": "DIR",
        },
    )
    prompts: Sequence[Path | str] = field(
        default=(),
        metadata={
            "help": "A CSV file with other prompts for a classification task: prompt,classname,classidx.",
            "metavar": "FILE",
        },
    )
    limit: int | None = field(
        default=None,
        metadata={"help": "Score a seeded subset of the examples, the same for every model.", "short": "-L", **_COUNT},
    )
    images_per_class: int | None = field(
        default=None,
        metadata={"help": "Score a seeded subset of the images of each class.", "metavar": "N", **_COUNT},
    )
    seed: int | None = field(default=None, metadata={"help": "Seed for the noise.", "metavar": "N"})
    dtype: str | None = field(
        default=None,
        metadata={
            "help": "float32, bfloat16 or float16, inside the network; with --device even one that the device only "
            "emulates.",
            "metavar": "NAME",
        },
    )
    device: str = field(default="auto", metadata={"help": "auto, cpu, cuda, cuda:1 or mps.", "metavar": "DEVICE"})
    batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Evaluations or pictures per batch; halved when memory runs out.",
            "metavar": "N",
            "none": "auto",
            **_COUNT,
        },
    )
    shard: str | None = field(
        default=None,
        metadata={
            "help": "Score only every N-th example, from the K-th; default: as torchrun, accelerate or srun says.",
            "metavar": "K/N",
        },
    )
    workers: str | None = field(
        default=None,
        metadata={
            "help": "ray: measure by Ray actors, one per GPU; ray:N: by N of them, also on CPUs; none: here. "
            "Default: ray where this machine has several GPUs and Ray is installed, else none.",
            "metavar": "ray[:N]|none",
        },
    )
    ray_address: str | None = field(
        default=None,
        metadata={
            "help": "The Ray cluster of --workers ray; default: RAY_ADDRESS, else this machine.",
            "metavar": "ADDRESS",
        },
    )
    keep: Keep = field(
        default="errors",
        metadata={"help": "What to store: errors can be read in other ways later, scores take less space."},
    )
    skip_unreadable: bool = field(
        default=False,
        metadata={"help": "Leave out examples whose images cannot be read; the signature says how many."},
    )
    max_pixels: int | None = field(
        default=None,
        metadata={
            "help": "Read images of up to N pixels; default: the 178,956,970 that Pillow allows.",
            "metavar": "N",
            **_COUNT,
        },
    )
    follow_links: bool = field(
        default=True, metadata={"help": "Refuse symbolic links among the data's files.", "flag": "--no-follow-links"}
    )
    runs: Path | str | None = field(
        default=None, metadata={"help": "The folder of runs; default: COMPBENCH_RUNS, or ./runs.", "metavar": "DIR"}
    )
    wait: float | None = field(
        default=None,
        metadata={
            "help": "Seconds to wait for another process that is writing to the run; default: an hour.",
            "metavar": "SECONDS",
        },
    )
    is_offline: bool = field(default=False, metadata={"help": "Fetch nothing from a hub.", "flag": "--offline"})
    refresh: bool = field(
        default=False, metadata={"help": "Use the newest commit of a model that is not pinned to one."}
    )

    @classmethod
    def of_keywords(cls, task: "str | Path | Task", model: Any, given: Mapping[str, Any]) -> "RunRequest":
        """The request from the keywords of `run`; those that are not settings are options of the model."""
        settings = {name: value for name, value in given.items() if name in cls.__dataclass_fields__}
        options = {name: value for name, value in given.items() if name not in settings}
        options = {**(settings.pop("options", None) or {}), **options}
        return cls(task=task, model=model, options=options, **settings)

    @property
    def is_told_where(self) -> bool:
        """Whether it says by which device, share or workers it is to be measured."""
        return self.device != "auto" or self.workers is not None or self.shard is not None

    def __post_init__(self) -> None:
        for named in fields(self):
            value = getattr(self, named.name)
            if named.metadata.get("is_count") and value is not None:
                _check_count(named.name, value)
        if isinstance(self.prompts, str | Path):
            raise UsageError(f"prompts cannot be {str(self.prompts)!r}; expected a list of files")
        for name in ("data", "images", "prompts"):
            if getattr(self, name) and not isinstance(self.task, str | Path):
                raise UsageError(f"{name} cannot be given for a task in memory; leave it out, or give the task's name")
        _check_name(self.name, self.model)
        check_device(self.device)
        self._check_workers()
        if self.keep not in ("errors", "scores"):
            raise UsageError(f"keep cannot be {self.keep!r}; expected errors or scores")
        if self.wait is not None:
            _check_seconds(self.wait)

    def _check_workers(self) -> None:
        if self.workers in (None, "none"):
            if self.ray_address is not None:
                raise UsageError(f"ray_address={self.ray_address!r} is for workers=ray; give both, or neither")
            return
        if not isinstance(self.workers, str) or not _WORKERS.fullmatch(self.workers):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"workers cannot be {self.workers!r}; expected ray, ray:N with N from 1, or none")
        if self.shard is not None:
            raise UsageError("workers share out all examples by themselves: leave out shard, or leave out workers")
        if ":" in self.device:
            raise UsageError(f"device cannot be {self.device!r} where each worker has a GPU of its own; expected cuda")

    @contextmanager
    def reading_images(self) -> Generator[None]:
        """Within it images are read as the request allows."""
        from compbench.core import image_files

        # the command's own limits, where it has set some, are not lifted here
        follows_links = None if self.follow_links else False
        with image_files.limited(max_pixels=self.max_pixels, follows_links=follows_links):
            yield


def setting(name: str) -> Field[Any]:
    """The setting with this name: its type, its default and what it does."""
    return RunRequest.__dataclass_fields__[name]


def takes_settings(function: Called) -> Called:
    """Let `help()` and a notebook show the settings as keywords of a function with **settings; the rest are options."""
    taken = inspect.signature(function).parameters
    own = [parameter for parameter in taken.values() if parameter.kind is not parameter.VAR_KEYWORD]
    keywords = [
        inspect.Parameter(named.name, inspect.Parameter.KEYWORD_ONLY, default=_default(named), annotation=named.type)
        for named in fields(RunRequest)
        if named.name not in taken
    ]
    options = inspect.Parameter("model_options", inspect.Parameter.VAR_KEYWORD, annotation=object)
    signature = inspect.signature(function).replace(parameters=[*own, *keywords, options])
    function.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    return function


def check_device(device: object) -> None:
    """UsageError for a device that cannot be."""
    if not isinstance(device, str) or not _DEVICE.fullmatch(device):
        raise UsageError(f"no device named {device!r}; expected auto, cpu, cuda, cuda:1 or mps")


def _default(of: Field[Any]) -> object:
    return of.default if of.default_factory is MISSING else of.default_factory()


def _check_name(name: object, model: object) -> None:
    if name is None:
        return
    if not isinstance(name, str):
        raise UsageError(f"name cannot be {name!r}; expected the model's name in tables")
    if isinstance(model, str):
        raise UsageError(f"name={name!r} is for a model of your own; {model!r} has a name already, so leave it out")


def _check_count(name: str, value: object) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return
    hint = "; the largest difference of one draw is max_difference" if name == "limit" else ""
    raise UsageError(f"{name} cannot be {value!r}; expected a whole number, at least 1{hint}")


def _check_seconds(seconds: object) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise UsageError(f"wait cannot be {seconds!r}; expected seconds, 0 or more")
