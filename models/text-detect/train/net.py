"""The network: one grey image in 0..255, sides multiples of 16, out: probability of text per cell of 4x4 pixels.

The first layers see 4x4 pixels as 16 channels, so that no pixel is thrown away before it is looked at; their kernels sum to zero,
so that brightness alone says nothing. Quarter, eighth and sixteenth resolution, joined again by addition.
"""
import torch
from torch import nn
from torch.nn import functional as F

QUARTER, EIGHTH, SIXTEENTH = 32, 64, 96
# Patterns of single pixels that are told apart before they are summed up in the channels of the quarter.
FINE = 64


def conv(inputs, outputs, stride=1, dilation=1):
    return nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation)


def centred(layer):
    w = layer.weight
    return w - w.mean(dim=(1, 2, 3), keepdim=True)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = conv(16, QUARTER)
        self.fine, self.mix = conv(16, FINE), nn.Conv2d(FINE, QUARTER, 1)
        self.a1, self.a2 = conv(QUARTER, QUARTER), conv(QUARTER, QUARTER)
        self.a3, self.a4 = conv(QUARTER, QUARTER), conv(QUARTER, QUARTER)
        self.down1 = conv(QUARTER, EIGHTH, stride=2)
        self.b1, self.b2 = conv(EIGHTH, EIGHTH), conv(EIGHTH, EIGHTH)
        self.b3, self.b4 = conv(EIGHTH, EIGHTH), conv(EIGHTH, EIGHTH)
        self.down2 = conv(EIGHTH, SIXTEENTH, stride=2)
        self.c1, self.c2 = conv(SIXTEENTH, SIXTEENTH, dilation=2), conv(SIXTEENTH, SIXTEENTH, dilation=4)
        self.up2, self.up1 = nn.Conv2d(SIXTEENTH, EIGHTH, 1), nn.Conv2d(EIGHTH, QUARTER, 1)
        self.d = conv(EIGHTH, EIGHTH)
        self.e = conv(QUARTER, QUARTER)
        self.tail = nn.Conv2d(QUARTER, 1, 1)
        with torch.no_grad():
            self.tail.bias.fill_(-2.0)
            for last in (self.mix, self.a4, self.b4):  # these begin by changing nothing, so that a smaller network can grow into this one
                last.weight.zero_()
                last.bias.zero_()

    def forward(self, x):
        q = F.pixel_unshuffle(x / 64, 4)
        q = F.pad(q, (1, 1, 1, 1), mode='replicate')
        fine = F.relu(F.conv2d(q, centred(self.fine), self.fine.bias))
        q = F.relu(F.conv2d(q, centred(self.head), self.head.bias) + self.mix(fine))
        q = F.relu(q + self.a2(F.relu(self.a1(q))))
        q = F.relu(q + self.a4(F.relu(self.a3(q))))
        e = F.relu(self.down1(q))
        e = F.relu(e + self.b2(F.relu(self.b1(e))))
        e = F.relu(e + self.b4(F.relu(self.b3(e))))
        s = F.relu(self.down2(e))
        s = F.relu(s + self.c2(F.relu(self.c1(s))))
        e = F.relu(e + F.interpolate(self.up2(s), scale_factor=2.0, mode='nearest'))
        e = F.relu(e + self.d(e))
        q = F.relu(q + F.interpolate(self.up1(e), scale_factor=2.0, mode='nearest'))
        q = F.relu(q + self.e(q))
        return self.tail(q)
