"""Latents of rendered clips on disk: resumed, divided among processes, never mistaken for one another."""

import torch
from torch import nn

from flashvideo_core.tiny.latent_shards import CLIPS_PER_SHARD, finish_shards, load_shards, start_shards
from flashvideo_core.tiny.latents import LatentKind
from flashvideo_core.training.distributed import World

VAE = nn.Linear(1, 1)  # what is asked where it is


def number_clips(made):
    """Latents that are the clip's number, which is noted in `made`."""

    def render(index):
        made.append(index)
        return {"clip": torch.full((1,), float(index))}

    return LatentKind("draft", render, lambda vae, clips: {"z": clips["clip"]})


def build_shards(folder, kind, vae, **which):
    finish_shards(start_shards(folder, kind, **which), vae)


def test_cached_latents_resume(tmp_path):
    made = []
    build_shards(tmp_path, number_clips(made), VAE, count=CLIPS_PER_SHARD)
    build_shards(tmp_path, number_clips(made), VAE, count=2 * CLIPS_PER_SHARD)
    assert made == list(range(2 * CLIPS_PER_SHARD))
    table = load_shards(tmp_path, "draft", count=2 * CLIPS_PER_SHARD)
    assert torch.equal(table["z"][:, 0], torch.arange(2.0 * CLIPS_PER_SHARD))


def test_a_shard_that_is_not_full_is_another_file_than_the_full_one(tmp_path):
    for count in (3, CLIPS_PER_SHARD + 2):
        build_shards(tmp_path, number_clips([]), VAE, count=count)
        assert torch.equal(load_shards(tmp_path, "draft", count=count)["z"][:, 0], torch.arange(float(count)))
    names = {"draft-00000-3.safetensors", "draft-00000.safetensors", "draft-00001-2.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_processes_divide_the_building_of_latents(tmp_path):
    made = [[], []]
    for rank in range(2):
        build_shards(tmp_path, number_clips(made[rank]), VAE, count=3 * CLIPS_PER_SHARD, world=World(rank, 2))
    assert [sorted({index // CLIPS_PER_SHARD for index in indices}) for indices in made] == [[0, 2], [1]]
    table = load_shards(tmp_path, "draft", count=3 * CLIPS_PER_SHARD)
    assert torch.equal(table["z"][:, 0], torch.arange(3.0 * CLIPS_PER_SHARD))
