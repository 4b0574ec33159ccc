"""The transformer apart from the golden values: batches, determinism, and the seams it takes per call."""

import operator
from dataclasses import replace

import pytest
import torch
from support.golden import ONE_PASS, error

from flashvideo_core.attention import apply_real_rope, apply_rope, attention, plain_attention, rope_rotations
from flashvideo_core.dit import Transformer, timestep_embedding

STAGES = pytest.mark.parametrize("stage", [1, 2])


@pytest.fixture
def dit(stage, request):
    return request.getfixturevalue(f"stage{stage}")


def example(batch: int = 2, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    x, txt = torch.randn(batch, 16, 3, 4, 6, generator=g), torch.randn(batch, 7, 32, generator=g)
    return x, torch.tensor([900.0, 33.0])[:batch], txt


@STAGES
def test_a_batch_of_two_equals_two_of_one(dit):
    x, t, txt = example()
    together = dit(x, t, txt)
    apart = torch.cat([dit(x[i : i + 1], t[i : i + 1], txt[i : i + 1]) for i in range(2)])
    assert error(together, apart) < ONE_PASS
    assert error(together[:1], together[1:]) > 0.1  # the items do differ


@STAGES
def test_a_second_call_gives_the_same_bits(dit):
    """No state stays behind, not even after a call of another size."""
    x, t, txt = example()
    first = dit(x, t, txt)
    dit(x[:, :, :1, :, :4], t, txt[:, :2])
    assert torch.equal(first, dit(x, t, txt))


@STAGES
def test_the_given_attention_is_used_everywhere(dit):
    x, t, txt = example()
    shapes = []

    def attend(q, k, v):
        shapes.append((q.shape, k.shape, v.shape))
        return attention(q, k, v)

    out = dit(x, t, txt, attention=attend)
    tokens = 7 + 3 * 2 * 3
    assert shapes == [((2, dit.config.heads, tokens, 64),) * 3] * dit.config.layers
    assert torch.equal(out, dit(x, t, txt))
    assert error(dit(x, t, txt, attention=lambda q, k, v: v), out) > 1e-2


@STAGES
def test_attention_kernels_agree(dit):
    """The kernel that torch chooses, and softmax(q k^T / 8) v written out."""
    x, t, txt = example()

    def written_out(q, k, v):
        return (q @ k.transpose(-1, -2) / 8).softmax(-1) @ v

    assert error(dit(x, t, txt, attention=written_out), dit(x, t, txt)) < ONE_PASS


@STAGES
@pytest.mark.parametrize("chunk", [5, 6, 17])
def test_chunks_change_nothing(dit, chunk):
    """7 tokens of text and 18 of video in two to five chunks. Products of other shapes round otherwise."""
    x, t, txt = example()
    whole, seen = dit(x, t, txt), []
    hook = dit.blocks[0].qkv.register_forward_hook(lambda layer, args, out: seen.append(out.shape[1]))
    assert error(dit(x, t, txt, chunk=chunk), whole) < ONE_PASS
    hook.remove()
    assert seen[0] == chunk and sum(seen) == 7 + 18


@STAGES
def test_gradients_are_recorded_of_the_whole_sequence(dit):
    """A chunk in place would spoil what they need."""
    x, t, txt = example()

    def gradient(chunk):
        z = x.clone().requires_grad_(True)
        return torch.autograd.grad(dit(z, t, txt, chunk=chunk).square().mean(), z)[0]

    assert torch.equal(gradient(5), gradient(8192))


@STAGES
def test_gradients_do_not_change_the_result(dit):
    """Without them blocks work in place."""
    x, t, txt = example()
    with torch.no_grad():
        plain = dit(x, t, txt)
    dit.requires_grad_(True)
    assert torch.equal(dit(x, t, txt), plain)
    dit.requires_grad_(False)


@STAGES
def test_on_block_comes_before_each_block_and_may_stop(dit):
    x, t, txt = example()
    order = []
    hooks = [
        block.register_forward_hook(lambda *_, i=i: order.append(f"ran {i}")) for i, block in enumerate(dit.blocks)
    ]
    dit(x, t, txt, on_block=lambda i: order.append(f"before {i}"))
    assert order == ["before 0", "ran 0", "before 1", "ran 1"]

    def stop(i):
        if i == 1:
            raise InterruptedError

    order.clear()
    with pytest.raises(InterruptedError):
        dit(x, t, txt, on_block=stop)
    assert order == ["ran 0"]
    for hook in hooks:
        hook.remove()


def test_stage2_reads_its_noise_step_and_frame_count(stage1, stage2):
    x, t, txt = example()
    out = stage2(x, t, txt, 675)
    assert torch.equal(out, stage2(x, t, txt))  # the default is the config's
    assert error(stage2(x, t, txt, 500), out) > 1e-3
    assert torch.equal(stage2(x, t, txt, torch.tensor([675.0, 500.0]))[0], out[0])  # one for each item
    assert torch.equal(stage2(x, t, txt, torch.tensor([675.0, 500.0]))[1], stage2(x, t, txt, 500)[1])
    assert torch.equal(stage1(x, t, txt, 500), stage1(x, t, txt, 675))  # stage 1 has no such embedding
    assert error(stage2.embed_time(t, 13, 675, x.dtype), stage2.embed_time(t, 3, 675, x.dtype)) > 1e-3


def test_timesteps_may_be_fractional():
    assert error(timestep_embedding(torch.tensor([882.353]), 128), timestep_embedding(torch.tensor([882.0]), 128)) > 0.1
    cos, sin = timestep_embedding(torch.tensor([3.0]), 8)[0].chunk(2)
    frequencies = torch.tensor([1.0, 0.1, 0.01, 0.001])
    torch.testing.assert_close(cos, (3 * frequencies).cos())  # cosines first
    torch.testing.assert_close(sin, (3 * frequencies).sin())


def test_rope_sees_relative_positions_only():
    """The dot product of a turned query and key depends on the distance alone, and text is not turned."""
    g = torch.Generator().manual_seed(3)
    q, k = torch.randn(1, 1, 1, 64, generator=g), torch.randn(1, 1, 1, 64, generator=g)
    rotations = rope_rotations(6, 5, 4)
    grid = torch.arange(6 * 5 * 4).view(6, 5, 4)

    def score(a, b):
        turned = apply_rope(torch.cat([q, k], dim=2), rotations[[int(grid[a]), int(grid[b])]])
        return float(turned[0, 0, 0] @ turned[0, 0, 1])

    assert score((0, 0, 0), (2, 1, 3)) == pytest.approx(score((3, 3, 0), (5, 4, 3)), rel=1e-4)
    assert score((0, 0, 0), (2, 1, 3)) != pytest.approx(score((0, 0, 0), (1, 2, 3)), rel=1e-2)
    text = torch.randn(1, 1, 3, 64, generator=g)
    mixed = apply_rope(torch.cat([text, q], dim=2), rope_rotations(1, 1, 1, text=3))
    assert torch.equal(mixed[:, :, :3], text)


def test_scaled_rope_puts_tokens_between_and_beyond_the_integers():
    """At scale 2 and shift 1 the tokens stand where every other one of a larger grid does."""
    large = rope_rotations(6, 8, 10, text=3)[3:].view(6, 8, 10, 32)
    scaled = rope_rotations(2, 4, 5, text=3, scale=(2.0, 2.0, 2.0), shift=(1.0, 0.0, 0.0))
    assert torch.equal(scaled[:3], torch.ones(3, 32, dtype=torch.complex64))
    torch.testing.assert_close(scaled[3:].view(2, 4, 5, 32), large[1:5:2, ::2, ::2])
    assert torch.equal(rope_rotations(2, 4, 5, scale=(1.0, 1.0, 1.0)), rope_rotations(2, 4, 5))


@STAGES
def test_rope_and_blocks_may_be_given_per_call(dit):
    """The released rotations by hand change no bit, others do; a block that is left out is one that is not there."""
    x, t, txt = example()
    plain = dit(x, t, txt)
    released = rope_rotations(3, 2, 3, text=7)
    assert torch.equal(dit(x, t, txt, rope=released, around_block=lambda i, block, x: block(x)), plain)
    assert error(dit(x, t, txt, rope=rope_rotations(3, 2, 3, text=7, scale=(1.0, 0.5, 0.5))), plain) > 1e-3
    skipped = dit(x, t, txt, around_block=lambda i, block, x: x if i == 1 else block(x))
    shorter = Transformer(replace(dit.config, layers=1))
    shorter.load_state_dict({name: p for name, p in dit.state_dict().items() if not name.startswith("blocks.1.")})
    with torch.no_grad():
        assert torch.equal(skipped, shorter(x, t, txt))


@STAGES
def test_layers_come_from_the_given_namespace(dit, stage):
    """`ops` is used for every layer with parameters, so that ComfyUI can pass its own."""
    made = []

    class Ops:
        def __getattr__(self, name):
            made.append(name)
            return getattr(torch.nn, name)

    model = Transformer(dit.config, Ops(), device="meta")
    with_weights = [m for m in model.modules() if list(m.parameters(recurse=False))]
    assert len(made) == len(with_weights)
    assert {type(m).__name__ for m in with_weights} == set(made) == {"Linear", "LayerNorm", "Conv2d"}


def test_plain_attention_equals_the_fused_kernel():
    q, k, v = torch.randn(3, 2, 3, 37, 64, generator=torch.Generator().manual_seed(0)).unbind(0)
    torch.testing.assert_close(plain_attention(q, k, v), attention(q, k, v), rtol=1e-5, atol=1e-6)


@STAGES
@torch.no_grad()
def test_it_compiles_into_one_graph_for_all_sizes(dit):
    """Without a break, and a second size does not compile again."""
    x, t, txt = example()
    compiles = []

    def backend(graph, inputs):
        compiles.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(dit, backend=backend, fullgraph=True, dynamic=True)
    for piece in (x, torch.cat([x, x[:, :, :2]], dim=2), torch.cat([x, x], dim=4)):
        assert error(compiled(piece, t, txt), dit(piece, t, txt)) < ONE_PASS
    assert len(compiles) == 1


def test_a_compiler_gets_rotary_positions_in_real_numbers():
    """Which turn as the complex ones do; only those, of an eager run, are in its bits."""
    x, rope = torch.randn(2, 3, 30, 64, generator=torch.Generator().manual_seed(0)), rope_rotations(2, 3, 4, text=6)
    pairs = torch.view_as_real(rope)
    for dtype, tolerance in ((torch.float32, 2e-7), (torch.bfloat16, 4e-3)):
        turned = apply_rope(x.to(dtype), rope)
        assert error(apply_real_rope(x.to(dtype), *pairs.unbind(-1)), turned) < tolerance
        assert torch.equal(turned, complex_product(x.to(dtype), rope))
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    assert error(torch.compile(apply_rope, backend=backend, fullgraph=True)(x, rope), apply_rope(x, rope)) < 2e-7
    (graph,) = graphs
    products = [node for node in graph.graph.nodes if node.target in (torch.mul, operator.mul)]
    made = [node.meta["example_value"].dtype for node in products]
    assert made == [torch.float32] * 4


def complex_product(x, rope):
    """As an eager run has always computed it."""
    return torch.view_as_real(torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * rope).flatten(-2).to(x.dtype)
