"""The denoiser: output = x - sigma * noise(x / sigma). Needs torch.

Working in units of the noise makes it equivariant to scale, and a head whose kernels sum to zero over each image channel's
taps and whose border repeats the edge makes it equivariant to offset: net(a x + b, a sigma) = a net(x, sigma) + b. So HU
far outside what training showed (metal) are no special case, and no mean value is preferred over another.
H and W must be even: pixel-unshuffle by 2 makes the rest four times cheaper.

What the exported graph takes away holds nothing as wide as about five pixels and more (`without_low`): a mean over an organ, a lesion of
low contrast or a whole slice stays the source's, whatever the weights are. The noise of CT has little there, so that little is lost.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F


class Denoiser(nn.Module):
    def __init__(self, channels=64, depth=9):
        super().__init__()
        self.head = nn.Conv2d(4, channels, 3)
        self.body = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1) for _ in range(depth)])
        self.tail = nn.Conv2d(channels, 4, 3, padding=1)
        for conv in [self.head, *self.body, self.tail]:
            nn.init.kaiming_normal_(conv.weight, nonlinearity='relu')
            nn.init.zeros_(conv.bias)
        for conv in self.body:
            conv.weight.data *= 0.5
        nn.init.normal_(self.tail.weight, 0, 1e-3)  # starts as the identity

    def head_weight(self):
        return self.head.weight - self.head.weight.mean((1, 2, 3), keepdim=True)

    def forward(self, x, sigma, half=False):
        """x [N,1,H,W]; sigma [N or 1,1,1,1] in the unit of x, above 0. half: bfloat16 inside, for training only."""
        units = F.pad(F.pixel_unshuffle(x / sigma, 2), (1, 1, 1, 1), mode='replicate')
        h = F.conv2d(units, self.head_weight(), self.head.bias)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half):
            for conv in self.body:
                h = h + conv(F.relu(h))
            noise = self.tail(F.relu(h))
        return x - sigma * F.pixel_shuffle(noise.float(), 2)


BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)


def without_low(noise):
    """noise minus itself blurred by about 4.5 pixels: mean of 4x4, binomial of 5, linear back. H and W must be multiples of 4."""
    small = F.pad(F.avg_pool2d(noise, 4), (2, 2, 2, 2), mode='replicate')
    taps = torch.tensor(BINOMIAL)
    small = F.conv2d(small, (taps[:, None] * taps)[None, None])
    return noise - F.interpolate(small, scale_factor=4, mode='bilinear', align_corners=False)
