"""A small U-Net over quarters of the picture: pixel-unshuffle by 2, four levels of convolution + batch normalisation + ReLU, pixel-shuffle
back; three classes out (logits). H and W multiples of 16. Needs torch."""
import torch
import torch.nn as nn
import torch.nn.functional as F

CHANNELS = (24, 40, 64, 96)
CLASSES = 3


def conv(inputs, outputs):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class UNet(nn.Module):
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
        self.last = nn.Conv2d(before, 4 * CLASSES, 1)

    def forward(self, x, half=False):
        """x [N,1,H,W]. half: bfloat16 inside, for training only."""
        x = F.pixel_unshuffle(x, 2)
        kept = []
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=half):
            for i, level in enumerate(self.down):
                x = level(x if i == 0 else F.max_pool2d(x, 2))
                kept.append(x)
            for level, skip in zip(self.up, reversed(kept[:-1])):
                x = level(torch.cat([F.interpolate(x, scale_factor=2, mode='nearest'), skip], 1))
            x = self.last(x)
        return F.pixel_shuffle(x.float(), 2)
