"""The denoiser: output = x - sigma * noise(x / sigma), a small U-Net over three scales. Needs torch.

Working in units of the noise makes it equivariant to scale, and a head whose kernels sum to zero over each image channel's
taps and whose border repeats the edge makes it equivariant to offset: net(a x + b, a sigma) = a net(x, sigma) + b. So HU
far outside what training showed (metal) are no special case, and no mean value is preferred over another.

What is taken away holds nothing wider than about seven pixels: its low frequencies are given back (`without_low`). So a mean over an
organ, a lesion of low contrast or the whole slice is the source's, whatever the weights are.
H and W must be multiples of 8: pixel-unshuffle by 2, then two halvings.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

WIDTHS = (32, 64, 128)
BINOMIAL = (1 / 4, 2 / 4, 1 / 4)


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity='relu')
        nn.init.normal_(self.second.weight, 0, 0.2 * (2 / (9 * width)) ** 0.5)
        nn.init.zeros_(self.first.bias)
        nn.init.zeros_(self.second.bias)

    def forward(self, h):
        return F.relu(h + self.second(F.relu(self.first(h))))


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        a, b, c = WIDTHS
        self.head = nn.Conv2d(4, a, 3)
        self.down = nn.ModuleList([nn.Conv2d(a, b, 2, 2), nn.Conv2d(b, c, 2, 2)])
        self.up = nn.ModuleList([nn.Conv2d(b, a, 1), nn.Conv2d(c, b, 1)])
        self.before = nn.ModuleList([Block(a), Block(b)])
        self.deep = nn.ModuleList([Block(c), Block(c)])
        self.after = nn.ModuleList([Block(a), Block(b)])
        self.tail = nn.Conv2d(a, 4, 3, padding=1)
        for conv in [self.head, *self.down, *self.up]:
            nn.init.kaiming_normal_(conv.weight, nonlinearity='relu')
            nn.init.zeros_(conv.bias)
        for conv in self.up:
            conv.weight.data *= 0.5
        nn.init.normal_(self.tail.weight, 0, 1e-3)  # starts as the identity
        nn.init.zeros_(self.tail.bias)

    def head_weight(self):
        return self.head.weight - self.head.weight.mean((1, 2, 3), keepdim=True)

    def noise(self, x, sigma, half=False):
        """In units of sigma, all frequencies. half: bfloat16 inside, for training only."""
        units = F.pad(F.pixel_unshuffle(x / sigma, 2), (1, 1, 1, 1), mode='replicate')
        h = F.relu(F.conv2d(units, self.head_weight(), self.head.bias))
        h = h.bfloat16() if half else h
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half):
            kept = []
            for block, conv in zip(self.before, self.down):
                kept.append(block(h))
                h = F.relu(conv(kept[-1]))
            for block in self.deep:
                h = block(h)
            for level in (1, 0):
                wide = F.interpolate(self.up[level](h), scale_factor=2, mode='nearest')
                h = self.after[level](wide + kept[level])
            found = self.tail(h)
        return F.pixel_shuffle(found.float(), 2)

    def forward(self, x, sigma):
        """x [N,1,H,W]; sigma [N or 1,1,1,1] or of x's shape, in the unit of x, above 0."""
        return x - sigma * without_low(self.noise(x, sigma))


def without_low(noise):
    """noise minus itself blurred by about 3.5 pixels (mean of 4x4, binomial of 3, linear back)."""
    small = F.pad(F.avg_pool2d(noise, 4), (1, 1, 1, 1), mode='replicate')
    taps = torch.tensor(BINOMIAL)
    small = F.conv2d(small, (taps[:, None] * taps)[None, None])
    return noise - F.interpolate(small, scale_factor=4, mode='bilinear', align_corners=False)
