"""A small U-Net that gives what is to be taken away: pixel-unshuffle by 2, four levels of convolution + batch normalisation + ReLU,
pixel-shuffle back; output = x - residual. H and W multiples of 16. Needs torch."""
import torch
import torch.nn as nn
import torch.nn.functional as F

CHANNELS = (32, 48, 64, 96)


def conv(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, channels=CHANNELS):
        super().__init__()
        self.down = nn.ModuleList()
        before = 4
        for width in channels:
            self.down.append(nn.Sequential(conv(before, width), conv(width, width)))
            before = width
        self.up = nn.ModuleList()
        for width in reversed(channels[:-1]):
            self.up.append(nn.Sequential(conv(before + width, width), conv(width, width)))
            before = width
        self.last = nn.Conv2d(before, 4, 3, padding=1)
        nn.init.normal_(self.last.weight, 0, 1e-3)  # starts as the identity
        nn.init.zeros_(self.last.bias)

    def forward(self, x, half=False):
        """x [N,1,H,W]. half: bfloat16 inside, for training only."""
        h = F.pixel_unshuffle(x, 2)
        kept = []
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half):
            for i, level in enumerate(self.down):
                h = level(h if i == 0 else F.max_pool2d(h, 2))
                kept.append(h)
            for level, skip in zip(self.up, reversed(kept[:-1])):
                h = level(torch.cat([F.interpolate(h, scale_factor=2, mode='nearest'), skip], 1))
            h = self.last(h)
        return x - F.pixel_shuffle(h.float(), 2)
