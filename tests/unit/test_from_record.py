"""`generate --from`: whatever a clip was made with, its record asks for the same clip again, and is never changed."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flashvideo_core.cli.attention_options import named_refine
from flashvideo_core.cli.components import find_components
from flashvideo_core.cli.from_record import add_record, recorded_kernel
from flashvideo_core.cli.jobs import ClipOptions, list_jobs
from flashvideo_core.cli.options import (
    DRAFT,
    ComponentOptions,
    OutputOptions,
    PromptOptions,
    named_settings,
    parse_options,
)
from flashvideo_core.cli.parser import build_parser
from flashvideo_core.cli.prompts import read_prompts
from flashvideo_core.cli.record import Record
from flashvideo_core.cli.refine import RefineOptions, make_record
from flashvideo_core.cli.refine_source import Source, SourceOptions
from flashvideo_core.cli.saved_draft import SavedDraft
from flashvideo_core.cli.source_files import SourceFiles
from flashvideo_core.components import COMPONENTS
from flashvideo_core.plans import DraftPlan, RefinePlan


def ignore(text: str) -> None:
    pass


def read_options(words: list[str], is_windowed: bool = False) -> ClipOptions:
    """As cli/generate.py reads them."""
    args = build_parser().parse_args(["generate", *words])
    draft, refine = named_settings(args, DRAFT), named_refine(args, is_windowed)
    refine = {"negative": draft["negative"]} | refine if "negative" in draft else refine
    own = (parse_options(cls, args) for cls in (PromptOptions, ComponentOptions, OutputOptions))
    prompts, components, output = own
    return ClipOptions(prompts, draft, refine, components, output, args.layout)


@pytest.fixture(scope="module")
def tiny():
    return find_components(read_options(["x", "--device", "cpu"]).components, COMPONENTS, ignore)


def first_job(options: ClipOptions, tiny, earlier: Record | None = None) -> Record:
    return list_jobs(options, read_prompts(options.prompts, None), tiny, earlier, ignore)[0].record


OPTIONS = {
    "--seed": st.integers(0, 2**64 - 1),
    "--negative": st.sampled_from(["blurry", "a cat"]),
    "--frames": st.integers(0, 20).map(lambda n: 4 * n + 1),
    "--height": st.integers(16, 200),
    "--width": st.integers(16, 200),
    "--steps": st.integers(2, 999),
    "--cfg": st.floats(-100, 100),
    "--guidance": st.sampled_from(["released", "constant"]),
    "--refine-seed": st.integers(0, 2**64 - 1),
    "--size": st.tuples(st.integers(16, 300), st.integers(16, 300)).map(lambda size: f"{size[0]}x{size[1]}"),
    "--refine-steps": st.integers(1, 1000),
    "--refine-cfg": st.floats(-100, 100),
    "--shift": st.floats(0.01, 100),
    "--noise-step": st.integers(0, 999),
    "--crf": st.floats(0, 51),
    "--attention": st.sampled_from(["auto", "fused", "chunked", "windows"]),
}
CHOSEN = st.fixed_dictionaries({}, optional=OPTIONS)
SPLITS = st.none() | st.integers(1, 10**6) | st.tuples(st.integers(4, 90), st.integers(4, 90))
BRANCHES = st.sampled_from([1, 2])


def as_words(chosen: dict[str, object]) -> list[str]:
    return [f"{name}={value!r}" if isinstance(value, float) else f"{name}={value}" for name, value in chosen.items()]


@settings(max_examples=50, deadline=None)
@given(CHOSEN, CHOSEN, st.builds(DraftPlan, SPLITS, BRANCHES), st.builds(RefinePlan, SPLITS, SPLITS, BRANCHES))
def test_every_combination_of_options_is_made_again(tiny, chosen, anew, draft_plan, refine_plan):
    record = first_job(read_options(["a red ball", *as_words(chosen)]), tiny)
    record = replace(record, draft_plan=draft_plan, refine_plan=refine_plan)
    stored = json.loads(json.dumps(record.to_json()))
    before = copy.deepcopy(stored)
    read = Record.from_json(stored)
    assert read == record and (read.draft_plan, read.refine_plan) == (draft_plan, refine_plan)
    again = first_job(add_record(read_options(["--from=clip.json"]), read), tiny, read)
    assert again == record and (again.draft_plan, again.refine_plan) == (draft_plan, refine_plan)
    renamed = read_options(["--from=clip.json", *as_words(anew)], is_windowed=bool(read.refine.window))
    changed = first_job(add_record(renamed, read), tiny, read)
    assert stored == before and read == record  # nobody wrote into it
    for option, field in {"--steps": "steps", "--cfg": "cfg", "--frames": "frames", "--seed": "seed"}.items():
        expected = anew.get(option, getattr(record.draft, field))
        assert getattr(changed.draft, field) == expected


@settings(max_examples=25, deadline=None)
@given(CHOSEN, st.fixed_dictionaries({}, optional={k: OPTIONS[k] for k in ("--seed", "--negative", "--shift")}))
def test_refining_a_draft_leaves_its_record_alone_and_is_made_again(tiny, chosen, named):
    """refine --negative is stage 2's own; the draft that `generate --from` makes is the one that was refined."""
    made = first_job(read_options(["a red ball", *as_words(chosen)]), tiny).of_draft()
    before = copy.deepcopy(made.to_json())
    args = build_parser().parse_args(["refine", "draft.safetensors", *as_words(named)])
    own = parse_options(ComponentOptions, args), parse_options(OutputOptions, args)
    files = SourceFiles("draft", (Path("draft.safetensors"),))
    options = RefineOptions((files,), None, SourceOptions(), named_refine(args), *own)
    source = Source(files, made.draft.size, made.prompt, made.fps, draft=SavedDraft(None, made))
    if made.attention is not None:  # another choice than the draft's makes the record name the draft's file
        options = replace(options, components=replace(options.components, attention=made.attention))
    record = make_record(options, source, made.prompt, tiny, ignore)
    assert made.to_json() == before and record.source is None
    read = Record.from_json(json.loads(json.dumps(record.to_json())))
    again = first_job(add_record(read_options(["--from=clip.json"]), read), tiny, read)
    assert again.draft == made.draft and again.refine == record.refine
    assert record.refine.negative == named.get("--negative", made.draft.negative)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (16, 24, 1)),
        (["--attention", "windows"], (16, 24, 1)),
        (["--window", "8x8"], (8, 8, 1)),
        (["--dense-evaluations", "0"], (16, 24, 0)),
        (["--attention", "auto"], (0, 0, 0)),
    ],
)
def test_windows_of_attention_are_made_again_unless_others_or_a_kernel_are_named(tiny, words, expected):
    named = ["--attention", "windows", "--window", "16x24", "--dense-evaluations", "1"]
    record = first_job(read_options(["a red ball", *named]), tiny)
    assert record.attention is None and record.kernel == "torch"
    read = Record.from_json(json.loads(json.dumps(record.to_json())))
    again = first_job(add_record(read_options(["--from=clip.json", *words], is_windowed=True), read), tiny, read)
    refine = again.refine
    assert (refine.window_height, refine.window_width, refine.dense_evaluations) == expected
    assert again.of_draft() == replace(record.of_draft(), attention=again.attention)


def test_the_attention_kernel_of_a_clip_is_taken_again(tiny, monkeypatch):
    """On a card that has it, whatever it would take by itself, unless one is named. Older records have none."""
    monkeypatch.setattr("flashvideo_core.kernels.runs_here", lambda kernel, device, dtype: kernel.name[0] in "CE")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr("flashvideo_core.cli.components.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("flashvideo_core.cli.components.pick_dtype", lambda device: torch.bfloat16)
    said = []

    def repeat(kernel, *words):
        record = replace(first_job(read_options(["a red ball"]), tiny), kernel=kernel)
        again = Record.from_json(json.loads(json.dumps(record.to_json())))
        options = read_options(["a red ball", *words]).components
        kernel = recorded_kernel(again, options)
        return find_components(options, COMPONENTS, said.append, kernel=kernel).kernel

    assert [repeat("efficient"), repeat("cudnn"), repeat(None)] == ["efficient", "cudnn", "cudnn"]
    assert repeat("efficient", "--attention", "fused") == "cudnn"
    assert said == []
    assert repeat("flash") == "cudnn" and "made with the attention kernel flash, this is cudnn" in said[0]
    assert first_job(read_options(["a red ball"]), tiny).kernel == "torch"
