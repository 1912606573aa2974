"""The network: one grey image in 0..255, sides multiples of 16, out: probability of text per cell of 4x4 pixels.

The first layer sees 4x4 pixels as 16 channels, so that no pixel is thrown away before it is looked at; its kernels sum to zero,
so that brightness alone says nothing. Quarter, eighth and sixteenth resolution, joined again by addition.
"""
import torch
from torch import nn
from torch.nn import functional as F

QUARTER, EIGHTH, SIXTEENTH = 32, 64, 96


def conv(inputs, outputs, stride=1, dilation=1):
    return nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation)


class Detector(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = conv(16, QUARTER)
        self.a1, self.a2 = conv(QUARTER, QUARTER), conv(QUARTER, QUARTER)
        self.down1 = conv(QUARTER, EIGHTH, stride=2)
        self.b1, self.b2 = conv(EIGHTH, EIGHTH), conv(EIGHTH, EIGHTH)
        self.b3, self.b4 = conv(EIGHTH, EIGHTH), conv(EIGHTH, EIGHTH)
        self.down2 = conv(EIGHTH, SIXTEENTH, stride=2)
        self.c1, self.c2 = conv(SIXTEENTH, SIXTEENTH, dilation=2), conv(SIXTEENTH, SIXTEENTH, dilation=4)
        self.c3, self.c4 = conv(SIXTEENTH, SIXTEENTH, dilation=2), conv(SIXTEENTH, SIXTEENTH, dilation=4)
        self.up2, self.up1 = nn.Conv2d(SIXTEENTH, EIGHTH, 1), nn.Conv2d(EIGHTH, QUARTER, 1)
        self.d = conv(EIGHTH, EIGHTH)
        self.e = conv(QUARTER, QUARTER)
        self.tail = nn.Conv2d(QUARTER, 1, 1)
        with torch.no_grad():
            self.tail.bias.fill_(-2.0)
            for layer in (self.b4, self.c4):  # blocks that begin as nothing: a network that lacks them goes on as it was
                layer.weight.zero_()
                layer.bias.zero_()

    def head_weight(self):
        w = self.head.weight
        return w - w.mean(dim=(1, 2, 3), keepdim=True)

    def forward(self, x):
        q = F.pixel_unshuffle(x / 64, 4)
        q = F.conv2d(F.pad(q, (1, 1, 1, 1), mode='replicate'), self.head_weight(), self.head.bias)
        q = F.relu(q)
        q = F.relu(q + self.a2(F.relu(self.a1(q))))
        e = F.relu(self.down1(q))
        e = F.relu(e + self.b2(F.relu(self.b1(e))))
        e = F.relu(e + self.b4(F.relu(self.b3(e))))
        s = F.relu(self.down2(e))
        s = F.relu(s + self.c2(F.relu(self.c1(s))))
        s = F.relu(s + self.c4(F.relu(self.c3(s))))
        e = F.relu(e + F.interpolate(self.up2(s), scale_factor=2.0, mode='nearest'))
        e = F.relu(e + self.d(e))
        q = F.relu(q + F.interpolate(self.up1(e), scale_factor=2.0, mode='nearest'))
        q = F.relu(q + self.e(q))
        return self.tail(q)
