"""`--t5` with a real, tiny T5 of transformers: its call, and a clip made with it."""

import json

import pytest
import torch
from support.cli_run import SMALL, STAGE1, STAGE2, VAE, list_files, run

from flashvideo_core.t5 import load_t5_encoder

transformers = pytest.importorskip("transformers", reason="needs transformers (pip install transformers)")
PROMPT = "a red ball"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A T5 encoder of width 32 with random weights, and a tokenizer of whole words, in transformers' layout."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["<pad>", "</s>", "<unk>", *(f"\u2581{word}" for word in ["a", "red", "ball", "moves", "left"])]
    tokenizer = Tokenizer(models.Unigram([(word, -1.0) for word in words], unk_id=2))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    path = tmp_path_factory.mktemp("t5")
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(path)
    torch.manual_seed(0)
    sizes = {"vocab_size": len(words), "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    transformers.T5EncoderModel(transformers.T5Config(**sizes)).save_pretrained(path)
    return path


def test_226_tokens_padded_truncated_and_without_a_mask(folder):
    encode = load_t5_encoder(folder, dtype=torch.float32)
    ids = torch.zeros(1, 226, dtype=torch.long)
    ids[0, :4] = torch.tensor([3, 4, 5, 1])  # a red ball </s>
    model = transformers.T5EncoderModel.from_pretrained(folder, torch_dtype=torch.float32).eval()
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state
        masked = model(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state
    found = encode(PROMPT)
    assert found.shape == (1, 226, 32) and found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(found, masked, atol=1e-2)
    assert encode("ball " * 500).shape == (1, 226, 32)


def test_weights_stay_in_the_dtype_asked_for(folder):
    assert not torch.equal(load_t5_encoder(folder)(PROMPT), load_t5_encoder(folder, dtype=torch.float32)(PROMPT))


def test_a_clip_from_a_prompt(folder, tmp_path, capsys):
    components = ["--stage1", STAGE1, "--stage2", STAGE2, "--vae", VAE, "--t5", folder]
    code, _, err = run(capsys, "generate", PROMPT, *components, *SMALL, "--output", tmp_path / "c")
    assert code == 0, err
    assert "the prompt has 3 words; the released weights follow detailed prompts" in err
    assert "final.mp4" in list_files(tmp_path / "c")
    text = json.loads((tmp_path / "c/clip.json").read_text())["weights"]["text"]
    assert text["file"] == folder.name and len(text["listing_sha256"]) == 64


def test_a_folder_that_is_no_t5(tmp_path, capsys):
    components = ["--stage1", STAGE1, "--stage2", STAGE2, "--vae", VAE, "--t5", tmp_path]
    code, _, err = run(capsys, "generate", PROMPT, *components, "--output", tmp_path / "c")
    assert (
        code == 2 and err == f"error: {tmp_path} is no folder of a T5 encoder with tokenizer: it has no config.json\n"
    )
    (tmp_path / "config.json").write_text("{}")
    code, _, err = run(capsys, "generate", PROMPT, *components, "--output", tmp_path / "c")
    assert code == 2
    assert err.splitlines()[-1].startswith(f"error: {tmp_path} holds no T5 encoder with tokenizer: ")
