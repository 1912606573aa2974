"""What ghosts of periodic motion are made of, and a small network that says how much of each to take away where. Needs torch.

Ghosts are copies of the edges, shifted along the phase (down the columns) by an amount that is the same all over the slice. What lies in the
air is nothing but ghosts: its correlation with the edges of the body over every shift tells by how much (`shift_of`, no weights). `parts` are
the derivatives of the slice, as it is and shifted by that much, and what lies in the air; a ghost is a sum of them whose coefficients change
slowly over the slice. Per cell of 8 x 8 pixels `features` holds how well each part explains the fine detail there, told by places without
edges more than by others. From these a network on the cells gives the coefficients; output = x - sum of coefficient * part.
`level` says how strong the ghosts are: log10 of their root mean square over that of the slice, + 0.001. H and W multiples of 8.
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

CELL = 8
# Air: where the mean of 11 x 11 pixels is below so much of the root mean square of the slice.
AIR = 0.25
LEAST_SHIFT = 2
# Detail that counts half when coefficients are told, in root mean squares of the slice.
DETAIL = (0.04, 0.16)
WIDTH = 64
PARTS = 12


def box(x, side):
    return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)


def down(x):
    """Central differences down the columns, 0 beyond the border."""
    return (F.pad(x, (0, 0, 0, 2)) - F.pad(x, (0, 0, 2, 0)))[:, :, 1:-1] / 2


def across(x):
    return (F.pad(x, (0, 2)) - F.pad(x, (2, 0)))[..., 1:-1] / 2


def bent(x):
    """Second differences down the columns."""
    return F.pad(x, (0, 0, 0, 2))[:, :, 1:-1] + F.pad(x, (0, 0, 2, 0))[:, :, 1:-1] - 2 * x


def air_of(x, power):
    return (box(x, 11) < AIR * power).float()


def shift_of(x, air):
    """[n] rows by which ghosts are most probably shifted, up and down, and how much of the edges' amount they have, [n]."""
    n, _, height, _ = x.shape
    mean = (x * air).sum((2, 3), keepdim=True) / (air.sum((2, 3), keepdim=True) + 1)
    edges = down(x).abs() * (1 - air)
    y = torch.arange(height)
    index = ((y[:, None] - y[None]) % height).expand(n, 1, height, height)

    def over_shifts(field):
        """Sum over all places of field(y) edges(y - l) + field(y) edges(y + l)."""
        one_way = (field @ edges.transpose(2, 3)).gather(3, index).sum((1, 2))
        return one_way + one_way.flip(1).roll(1, 1)

    there, room = over_shifts((x - mean) * air), over_shifts(air)
    share = (there / (room + 0.02 * room.amax(1, keepdim=True) + 1e-6))[:, LEAST_SHIFT:height // 2]
    best, at = share.max(1)
    return at + LEAST_SHIFT, best


def shifted(x, by):
    """Circularly down the columns, each slice by its own number of rows."""
    n, channels, height, width = x.shape
    rows = (torch.arange(height)[None] - by[:, None]) % height
    return x.gather(2, rows[:, None, :, None].expand(n, channels, height, width))


def cells(x):
    return F.avg_pool2d(x, CELL)


def seen(x):
    """Parts [n,PARTS,H,W] and features [n,FEATURES,H/8,W/8] of slices."""
    power = (x ** 2).mean((1, 2, 3), keepdim=True).sqrt() + 1e-6
    air = air_of(x, power)
    by, share = shift_of(x, air)
    slopes = torch.cat([down(x), across(x), bent(x)], 1)
    parts = torch.cat([*[shifted(slopes, way * by) for way in (1, -1)], *[shifted(slopes[:, :1], way * by) for way in (2, -2)],
                       bent(x), down(x), (x - box(x, 3)), x * air], 1)
    detail, details = x - box(x, 5), parts[:, :-1] - box(parts[:, :-1], 5)
    told = []
    for limit in DETAIL:
        limit = limit * power
        weight = 1 / (1 + (detail / limit) ** 2)
        common, own = cells(weight * detail * details), cells(weight * details ** 2)
        for side in (1, 3, 7):
            told.append(box(common, side) / (box(own, side) + 0.1 * limit ** 2))
        told.append(torch.log(box(own, 3) / power ** 2 + 1e-5) / 4)
    values = [cells(x) / power, cells(air), torch.log(cells(detail ** 2) / power ** 2 + 1e-6) / 4]
    slices = [torch.log(share.clamp(0) / power[:, 0, 0, 0] + 1e-3)[:, None, None, None] / 2, torch.log(cells(x * air).mean((2, 3), keepdim=True) / power + 1e-3) / 2]
    features = torch.cat([*told, *values, *[one.expand_as(values[0]) for one in slices]], 1)
    return parts, features


FEATURES = len(DETAIL) * 4 * (PARTS - 1) + 5


class Ghosts(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(FEATURES, WIDTH, 1), *[nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(4)], nn.Conv2d(WIDTH, PARTS, 1)])
        self.level = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, 1))
        with torch.no_grad():
            self.layers[-1].weight.mul_(0.1)
            self.layers[-1].bias.zero_()

    def coefficients(self, features):
        """[n,PARTS,H/8,W/8] and the level, [n]."""
        h = self.layers[0](features)
        for layer in self.layers[1:-1]:
            h = h + layer(F.relu(h)) if layer is not self.layers[1] else layer(F.relu(h))
        return self.layers[-1](F.relu(h)), self.level(F.relu(h).mean((2, 3)))[:, 0]

    def left(self, x, parts, features):
        coefficients, level = self.coefficients(features)
        return x - (F.interpolate(coefficients, scale_factor=CELL, mode='bilinear', align_corners=False) * parts).sum(1, keepdim=True), level

    def forward(self, x):
        """x [N,1,H,W]: what is left of it without ghosts, and their level."""
        return self.left(x, *seen(x))
