"""What a clip was made with: prompt, both stages' settings, weight hashes; as JSON beside it and in its videos.

The same record lies in the sidecar clip.json, in the container of every video and (its first half) in the saved draft.
`generate --from` reads it back. What the machine added (memory plans, versions) is kept too, and left out of the
comparison of two records, so a finished clip is found again by what it is.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import torch

from ..errors import InputError
from ..faithful import Drift
from ..media.codecs import H264, VideoFormat, check_crf, choose_format
from ..media.timing import CONSTANT
from ..media.video_reader import read_video
from ..media.video_writer import check_fps
from ..plans import DraftPlan, Passes, RefinePlan
from ..settings import DraftSettings, RefineSettings
from .record_schema import check_record

METADATA_KEY = "flashvideo"  # of the record in a video's metadata
REQUIRED = ("prompt", "stage1", "weights", "dtype", "device", "fps")
DRAFT_COMPONENTS = ("stage1", "text")  # what a draft's latent is made of

S = TypeVar("S", DraftSettings, RefineSettings)


class WeightsHash(TypedDict, total=False):
    """How a record knows a component: its file's name, and one of the hashes."""

    file: str
    sha256: str
    source_sha256: str  # of what a large file of ours was converted from
    bytes: int
    listing_sha256: str  # of a folder: names and sizes


class SourceFile(TypedDict):
    """What was refined, where it is no draft that the record alone could make again."""

    file: str
    sha256: str


class Software(TypedDict):
    flashvideo: str
    torch: str
    threads: int


def this_software() -> Software:
    try:
        own = version("flashvideo")
    except PackageNotFoundError:  # run from a checkout
        own = "checkout"
    return {"flashvideo": own, "torch": torch.__version__, "threads": torch.get_num_threads()}


@dataclass(frozen=True)
class Record:
    """Two records are equal when they ask for the same clip.

    A draft's record has no refine and no crf. draft is None for what was refined from a clip that stage 1 did not make.
    """

    prompt: str
    draft: DraftSettings | None
    refine: RefineSettings | None
    weights: dict[str, WeightsHash]  # by component
    dtype: str
    device: str
    fps: Fraction
    crf: float | None = None
    video: VideoFormat = H264  # of the refined clip
    timing: str = CONSTANT  # KEEP: its frames have the times of the video that was refined
    attention: str | None = None  # where it was chosen
    kernel: str | None = field(default=None, compare=False)  # that attention came to, on the machine
    source: SourceFile | None = None
    draft_plan: DraftPlan | None = field(default=None, compare=False)
    refine_plan: RefinePlan | None = field(default=None, compare=False)
    drift: Drift | None = field(default=None, compare=False)  # of the finished clip
    software: Software = field(default_factory=this_software, compare=False)
    paths: dict[str, str] | None = field(default=None, compare=False)  # by component; in the sidecar alone

    def of_draft(self) -> "Record":
        """The half that tells how the draft was made."""
        weights = {name: self.weights[name] for name in DRAFT_COMPONENTS}
        others = dict.fromkeys(("refine", "crf", "source", "refine_plan", "drift", "paths"))
        others |= {"video": H264, "timing": CONSTANT}
        return replace(self, weights=weights, **others)

    def of_latent(self) -> "Record":
        """Without what decodes the clip's latent, which is the same whatever that is."""
        return replace(self, weights={name: known for name, known in self.weights.items() if name != "decoder"})

    def to_json(self) -> dict[str, Any]:
        """Stage 2's negative prompt is left out where it is the draft's."""
        negative = self.refine.negative if self.refine else None
        stage1 = self.draft.to_json() if self.draft else {"seed": 0, "negative": negative}
        stages = {"stage1": stage1 | plan_to_json(self.draft_plan)}
        if self.refine:
            stage2 = self.refine.to_json()
            if negative == stage1["negative"]:
                del stage2["negative"]
            stages["stage2"] = stage2 | plan_to_json(self.refine_plan)
        fps = self.fps.numerator if self.fps.denominator == 1 else str(self.fps)
        optional = {"crf": self.crf, "attention": self.attention, "kernel": self.kernel, "software": self.software}
        if self.video != H264:  # left out otherwise, as in older records; so is timing
            optional |= {"codec": self.video.codec.name, "bit_depth": self.video.bit_depth}
        optional |= {} if self.timing == CONSTANT else {"timing": self.timing}
        optional |= {"source": self.source, "drift": self.drift and asdict(self.drift), "paths": self.paths}
        run = {"dtype": self.dtype, "device": self.device, "fps": fps}
        run |= {name: value for name, value in optional.items() if value is not None}
        return {"prompt": self.prompt, **stages, "weights": self.weights, **run}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Record":
        """What `to_json` gave. Raises InputError without a subject, for the caller to put a file's name before it."""
        check_record(values)
        values = {name: value for name, value in values.items() if value is not None}
        if lacking := [name for name in REQUIRED if name not in values]:
            raise InputError(f"is incomplete: it lacks settings of the clip ({', '.join(lacking)})")
        draft, draft_plan = split_plan(values["stage1"], DraftPlan)
        refine, refine_plan = split_plan(values["stage2"], RefinePlan) if "stage2" in values else (None, None)
        is_ours = "source" not in values or "frames" in draft
        if is_ours and (lacking := [name for name in DRAFT_COMPONENTS if name not in values["weights"]]):
            raise InputError(f"is incomplete: it lacks weights of the clip ({', '.join(lacking)})")
        inherited = {"negative": draft.get("negative")}
        video = choose_format(values.get("codec"), values.get("bit_depth"))
        software = {name: value for name, value in values.get("software", {}).items() if value is not None}
        return cls(
            prompt=values["prompt"],
            draft=load_settings(DraftSettings, draft, "stage1") if is_ours else None,
            refine=None if refine is None else load_settings(RefineSettings, inherited | refine, "stage2"),
            weights=values["weights"],
            dtype=values["dtype"],
            device=values["device"],
            fps=check_fps(Fraction(values["fps"])),
            crf=check_crf(video, values["crf"]) if "crf" in values else None,
            video=video,
            timing=values.get("timing", CONSTANT),
            attention=values.get("attention"),
            kernel=values.get("kernel"),
            source=values.get("source"),
            draft_plan=draft_plan,
            refine_plan=refine_plan,
            drift=Drift(**values["drift"]) if "drift" in values else None,
            software=this_software() | software,
            paths=values.get("paths"),
        )


def load_settings(cls: type[S], values: Mapping[str, Any], stage: str) -> S:
    """The settings of a stage; what is wrong with them names the stage."""
    try:
        return cls.from_json(values)
    except InputError as error:
        raise InputError(f"{error} ({stage})") from None


def plan_to_json(plan: DraftPlan | RefinePlan | None) -> dict[str, Any]:
    """The plan, and what was evaluated once the stage has run."""
    if plan is None:
        return {}
    return {"tiles": plan.to_json()} | ({"passes": asdict(plan.passes)} if plan.passes else {})


def split_plan(
    stage: Mapping[str, Any], cls: type[DraftPlan] | type[RefinePlan]
) -> tuple[dict[str, Any], DraftPlan | RefinePlan | None]:
    """The settings of a stage's record, and the plan that lies among them."""
    settings = {name: value for name, value in stage.items() if name not in ("tiles", "passes")}
    if stage.get("tiles") is None:
        return settings, None
    passes = None if stage.get("passes") is None else Passes(**stage["passes"])
    return settings, replace(cls.from_json(stage["tiles"]), passes=passes)


def read_record(path: str | Path) -> Record:
    """The record of a clip of ours. Raises InputError."""
    values = read_record_json(path)
    try:
        record = Record.from_json(values)
    except InputError as error:
        raise InputError(f"{path} {error}") from None
    if record.refine is None:
        raise InputError(f"{path} is the record of a draft, not of a clip: stage2 is null")
    return record


def read_record_json(path: str | Path) -> dict[str, Any]:
    """The record in a clip.json, in the folder of a clip, or in a video of ours. Raises InputError.

    Its values are of the right types; keys may be missing.
    """
    path = Path(path)
    if path.suffix == ".safetensors" or is_draft_folder(path):
        raise InputError(f"{path} is a draft, which is no clip yet; go on from it with: refine {path}")
    path = find_sidecar(path) if path.is_dir() else path
    text, record = read_record_text(path), None
    with suppress(ValueError, RecursionError):
        record = json.loads(text)
    if not isinstance(record, dict) or not {"prompt", "stage1", "stage2", "weights"} <= record.keys():
        raise InputError(f"{path} holds no record of a clip of ours")
    check_named_record(path, record)
    return record


def find_sidecar(folder: Path) -> Path:
    """clip.json of a clip's folder, or of the one that holds this folder of its pictures."""
    sidecar, above = folder / "clip.json", folder.parent / "clip.json"
    return above if folder.name == "final" and above.is_file() and not sidecar.is_file() else sidecar


def check_named_record(path: Path, values: object) -> None:
    """`check_record`, with the file's name in the message."""
    try:
        check_record(values)
    except InputError as error:
        raise InputError(f"{path} {error}") from None


def is_draft_folder(path: Path) -> bool:
    return not (path / "clip.json").exists() and (path / "draft.safetensors").is_file()


def read_record_text(path: Path) -> str:
    if path.suffix != ".json":
        return read_video(path, max_frames=1).metadata.get(METADATA_KEY, "")
    try:
        return path.read_text("utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
