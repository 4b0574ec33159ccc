"""How often T5 moves to the device: a stand-in whose ways are counted (the real one: test_cli_t5.py)."""

from types import SimpleNamespace

import pytest
import torch
from support.cli_run import SMALL, STAGE1, STAGE2, VAE, run, show_same_frames
from torch import nn

from flashvideo_core import components
from flashvideo_core.t5 import T5Encoder, encode_ahead

PROMPTS = ("a red ball", "a blue ball", "a red ball moves left")


class CountedModel(nn.Module):
    """Says of each token where it is in the alphabet; `stays` are its ways to the device."""

    def __init__(self):
        super().__init__()
        self.stays = 0

    def to(self, device):
        self.stays += torch.device(device).type != "cpu"
        return self

    def forward(self, input_ids):
        out = torch.sin(input_ids[..., None].float() * torch.arange(1, 33))
        return SimpleNamespace(last_hidden_state=out)


class Ids(torch.Tensor):
    """Token ids that stay where they are, wherever they are sent."""

    def to(self, *args, **kwargs):
        return self.as_subclass(torch.Tensor)


def tokenizer(text, return_tensors=None, truncation=False, max_length=None, padding=None, verbose=True):
    ids = [ord(letter) % 32 for letter in text]
    if return_tensors is None:
        return {"input_ids": ids}
    padded = (ids + [0] * max_length)[:max_length]
    return {"input_ids": torch.tensor([padded]).as_subclass(Ids)}


def make_encoder(device="cuda"):
    return T5Encoder(CountedModel(), tokenizer, torch.device(device))


def test_texts_are_encoded_in_one_stay_and_as_each_by_itself():
    encoder, alone = make_encoder(), make_encoder()
    ahead = encode_ahead(encoder, (*PROMPTS, PROMPTS[0]))
    assert encoder.model.stays == 1
    assert all(torch.equal(ahead(prompt), alone(prompt)) for prompt in PROMPTS)
    assert (encoder.model.stays, alone.model.stays) == (1, 3)
    assert torch.equal(ahead("another"), alone("another")) and encoder.model.stays == 2


def test_on_the_cpu_and_for_another_encoder_nothing_is_encoded_ahead():
    encoder = make_encoder("cpu")
    assert encode_ahead(encoder, PROMPTS) is encoder
    assert encode_ahead(tokenizer, PROMPTS) is tokenizer


@pytest.mark.parametrize("command", ["generate", "draft"])
def test_a_file_of_prompts_moves_t5_once(tmp_path, capsys, monkeypatch, command):
    """And makes the clips that each prompt makes by itself: positive and negative texts of both stages."""
    made = []
    monkeypatch.setattr(components, "check_t5", lambda folder: None)
    monkeypatch.setattr(components, "load_t5_encoder", lambda folder, device: made.append(make_encoder()) or made[-1])
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    (tmp_path / "t5").mkdir()
    sizes = SMALL if command == "generate" else SMALL[:6] + SMALL[8:10]
    options = [
        "--stage1",
        STAGE1,
        "--vae",
        VAE,
        "--t5",
        tmp_path / "t5",
        *sizes,
        "--negative",
        "blurred",
        "--device",
        "cpu",
    ]
    options += ["--stage2", STAGE2] if command == "generate" else []
    code, _, err = run(capsys, command, "--prompts", tmp_path / "prompts.txt", *options, "--output", tmp_path / "all")
    assert code == 0, err
    assert [encoder.model.stays for encoder in made] == [1]
    code, _, err = run(capsys, command, PROMPTS[1], *options, "--output", tmp_path / "one")
    assert code == 0, err
    name = "final.mp4" if command == "generate" else "draft.mp4"
    (folder,) = [path.parent for path in (tmp_path / "all").rglob(name) if "blue" in path.parent.name]
    assert show_same_frames(folder / name, tmp_path / "one" / name)
