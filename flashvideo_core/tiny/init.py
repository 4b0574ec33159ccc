"""How untrained networks begin, so that little training suffices."""

import torch
from torch import Tensor, nn

from ..dit import Transformer
from ..small_decoder import SmallDecoder
from ..vae import VAE, Downsample, ResBlock, SpatialNorm, Upsample


def init_vae(vae: VAE) -> VAE:
    """The path around the residual branches begins as averaging down and repeating up; branches are weak.

    With the default start that path shrinks the picture's colours by an order of magnitude before the latent,
    and a short training stays grey (measured: L1 after 120 steps 0.166 against 0.21 to 0.29).
    """
    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(module, Downsample):
            _add_identity(module.conv, slice(0, 2), 0.5)
        elif isinstance(module, Upsample):
            _add_identity(module.conv, slice(1, 2), 1.0)
        elif isinstance(module, ResBlock):
            module.conv2.conv.weight.data.mul_(0.2)
            if not isinstance(module.skip, nn.Identity):
                nn.init.orthogonal_(module.skip.weight.data.view(module.skip.out_channels, -1))
        elif isinstance(module, SpatialNorm):
            module.scale.weight.data.mul_(0.1)
            nn.init.ones_(module.scale.bias)
            module.bias.weight.data.mul_(0.3)
    return vae


@torch.no_grad()
def init_small_decoder(decoder: SmallDecoder, latent_rgb: Tensor) -> SmallDecoder:
    """The first three channels begin as the latent's colours, repeated up, and nothing else is shown.

    latent_rgb: rows [17, 3] of fit_latent_rgb. From another start drafts were still half grey after 800 steps.
    """
    convs = [decoder.conv_in, decoder.conv_out, *(level.enlarge for level in decoder.levels)]
    for conv in [*convs, *(conv for level in decoder.levels for block in level.blocks for conv in block.convs)]:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    for level in decoder.levels:
        grow = level.grow.weight.unflatten(0, (level.growth, -1))  # by frame
        grow.mul_(0.1)[:, :3] = 0
        grow.add_(torch.eye(grow.shape[2])[:, :, None, None])
        for block in level.blocks:
            block.convs[2].weight.mul_(0.1)[:3] = 0
            nn.init.zeros_(block.convs[2].bias)
    decoder.conv_in.weight[:3], decoder.conv_in.bias[:3] = 0, (latent_rgb[16] + 1) / 2
    decoder.conv_in.weight[:3, :, 1, 1] = latent_rgb[:16].T / 2
    for conv in convs[1:]:
        conv.weight[:3] = 0
        conv.weight[:3, :3, 1, 1] = torch.eye(3)
    nn.init.zeros_(decoder.conv_out.bias)
    return decoder


def _add_identity(conv: nn.Conv2d, taps: slice, value: float) -> None:
    """A weak convolution plus `value` from each channel to itself, over `taps` rows and columns of the kernel."""
    conv.weight.data.mul_(0.1)
    for channel in range(conv.out_channels):
        conv.weight.data[channel, channel, taps, taps] += value


def zero_output(model: Transformer) -> Transformer:
    """Usual start of a diffusion transformer: gates and output zero, so that blocks begin as the identity."""
    for linear in [model.head, model.head_modulation, *(block.modulation for block in model.blocks)]:
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    return model


@torch.no_grad()
def whiten(vae: VAE, z: Tensor) -> VAE:
    """Folds per-channel mean and scale into the VAE so that its latents become (z - mean) / std.

    A latent channel that is mostly a constant costs a diffusion model its signal: at unit variance overall,
    what distinguishes two pictures drowned in the noise and no shape was ever drawn (measured). z are latents
    [N, 16, T, H, W] of typical clips. Exact but for one ring of latents at the border, where the decoder pads
    with zeros; a short training after it mends that.
    """
    mean, std = z.float().mean((0, 2, 3, 4)), z.float().std((0, 2, 3, 4))
    out, channels = vae.encoder.conv_out.conv, len(mean)
    out.weight[:channels] /= std[:, None, None, None, None]
    out.bias[:channels] = (out.bias[:channels] - mean) / std
    out.bias[channels:] -= 2 * std.log()
    readers = [m for norm in vae.decoder.modules() if isinstance(norm, SpatialNorm) for m in (norm.scale, norm.bias)]
    for conv in [vae.decoder.conv_in.conv, *readers]:
        conv.bias += (conv.weight.sum((2, 3, 4)) * mean).sum(1)
        conv.weight *= std[:, None, None, None]
    return vae
