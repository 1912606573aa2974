"""Writes the trained network as ONNX with weights and activations of 8 bits, a self-test beside it, and checks both. Needs torch, onnx,
numpy, scipy, Pillow, fonts.

  python3 export.py --checkpoint text.pt --folder ..

The graph is written node by node, not traced: opset 17, any height and width that are multiples of 16. `grey` holds 0..255, `text` the
probability per cell of 4x4 pixels. model.onnx, selftest.in.f32 (1x1x96x128), selftest.out.f32 (1x1x24x32), little-endian float32.

Every node is computed with torch as it is written, on synthetic pictures of a fixed seed: the range that a tensor has there becomes its
256 steps. Weights have 7 bits, one scale per output channel: with 8, processors that add pairs of products in 16 bits overflow, and
others do not. The first and the last layer stay in float.
"""
import argparse
import hashlib
import pathlib

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

from net import Detector
from synth import sample

SHAPE = (1, 1, 96, 128)
CALIBRATION = (28, 1, 384, 512)


class Writer:
    """Nodes of the graph, and what each tensor of it is for the pictures that are shown while it is written."""

    def __init__(self, net, steps=None):
        """`steps`: scale and zero of every tensor, where an earlier writer found them."""
        self.net, self.nodes, self.constants, self.seen, self.scales = net, [], {}, {}, {}
        self.steps = {} if steps is None else steps

    def constant(self, name, array):
        self.constants[name] = numpy_helper.from_array(np.array(array, order='C'), name)
        return name

    def add(self, kind, inputs, output, value, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        self.seen[output] = value
        return output

    def rounded(self, source, like=None):
        """The tensor in 256 steps between the least and the most it was seen to be, or in those of another tensor."""
        value = self.seen[source]
        if like is None:
            if source not in self.steps:
                low, high = min(0.0, float(value.min())), max(1e-3, float(value.max()))
                scale = np.float32((high - low) / 255)
                self.steps[source] = scale, np.uint8(np.clip(np.rint(-low / scale), 0, 255))
            scale, zero = self.steps[source]
            self.scales[source] = like = (self.constant(source + '.scale', scale), self.constant(source + '.zero', zero), scale, zero)
        names, (scale, zero) = like[:2], like[2:]
        steps = (value / float(scale)).round().add(int(zero)).clamp(0, 255)
        self.add('QuantizeLinear', [source, *names], source + '.u8', steps)
        out = self.add('DequantizeLinear', [source + '.u8', *names], source + '.rounded', (steps - int(zero)) * float(scale))
        self.scales[out] = like
        return out

    def conv(self, name, source, weight=None, pad=True, exact=False):
        layer = getattr(self.net, name)
        weight, bias = (layer.weight if weight is None else weight).detach(), layer.bias.detach()
        d = layer.dilation[0]
        side = d * (weight.shape[-1] // 2) if pad else 0
        if exact:
            inputs = [source, self.constant(name + '.weight', weight.numpy()), self.constant(name + '.bias', bias.numpy())]
        else:
            scale = weight.abs().amax((1, 2, 3)).clamp(min=1e-6) / 63
            steps = (weight / scale[:, None, None, None]).round()
            weight = steps * scale[:, None, None, None]
            unit = scale * float(self.scales[source][2])
            whole = (bias / unit).round()
            bias = whole * unit
            inputs = [source, self.stored(name + '.weight', steps.to(torch.int8), scale), self.stored(name + '.bias', whole.to(torch.int32), unit)]
        value = F.conv2d(self.seen[source], weight, bias, layer.stride, side, layer.dilation)
        return self.add('Conv', inputs, name, value, kernel_shape=list(weight.shape[2:]), pads=[side] * 4, strides=list(layer.stride), dilations=[d, d])

    def stored(self, name, steps, scale):
        zero = self.constant(name + '.zero', np.zeros(len(scale), np.int8 if steps.dtype == torch.int8 else np.int32))
        inputs = [self.constant(name + '.steps', steps.numpy()), self.constant(name + '.scale', scale.numpy().astype(np.float32)), zero]
        self.nodes.append(helper.make_node('DequantizeLinear', inputs, [name], axis=0))
        return name

    def relu(self, source):
        return self.add('Relu', [source], source + '.relu', F.relu(self.seen[source]))

    def sum(self, one, other, name):
        return self.rounded(self.relu(self.add('Add', [one, other], name, self.seen[one] + self.seen[other])))

    def block(self, name, source, layers):
        h = source
        for i, layer in enumerate(layers):
            h = self.conv(layer, h)
            h = self.rounded(self.relu(h) if i + 1 < len(layers) else h)
        return self.sum(source, h, name)

    def twice(self, source):
        scales = self.constant(source + '.scales', np.array([1, 1, 2, 2], np.float32))
        grown = self.add('Resize', [source, '', scales], source + '.twice', F.interpolate(self.seen[source], scale_factor=2.0, mode='nearest'),
                         mode='nearest', coordinate_transformation_mode='asymmetric', nearest_mode='floor')
        return self.rounded(grown, self.scales[source])

    def write(self, grey):
        net = self.net
        self.seen['grey'] = grey
        units = self.add('Div', ['grey', self.constant('unit', np.array(64, np.float32))], 'units', grey / 64)
        # torch's pixel_unshuffle orders channels row by row within the cell, as SpaceToDepth does for one channel.
        q = self.add('SpaceToDepth', [units], 'cells', F.pixel_unshuffle(self.seen[units], 4), blocksize=4)
        edges = self.constant('edges', np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
        q = self.add('Pad', [q, edges], 'padded', F.pad(self.seen[q], (1, 1, 1, 1), mode='replicate'), mode='edge')
        q = self.rounded(self.relu(self.conv('head', q, net.head_weight(), pad=False, exact=True)))
        q = self.block('a', q, ['a1', 'a2'])
        e = self.rounded(self.relu(self.conv('down1', q)))
        e = self.block('b', e, ['b1', 'b2'])
        e = self.block('bb', e, ['b3', 'b4'])
        s = self.rounded(self.relu(self.conv('down2', e)))
        s = self.block('c', s, ['c1', 'c2'])
        s = self.block('cc', s, ['c3', 'c4'])
        e = self.sum(e, self.twice(self.rounded(self.conv('up2', s))), 'eighth')
        e = self.block('dd', e, ['d'])
        q = self.sum(q, self.twice(self.rounded(self.conv('up1', e))), 'quarter')
        q = self.block('ee', q, ['e'])
        tail = self.conv('tail', q, exact=True)
        self.add('Sigmoid', [tail], 'text', torch.sigmoid(self.seen[tail]))
        return helper.make_graph(
            self.nodes, 'text-detect',
            [helper.make_tensor_value_info('grey', TensorProto.FLOAT, ['n', 1, 'h', 'w'])],
            [helper.make_tensor_value_info('text', TensorProto.FLOAT, ['n', 1, 'h4', 'w4'])], list(self.constants.values()))


def pictures(seed, shape):
    drawn = [sample(np.random.default_rng([seed, i]), *shape[2:])[0] for i in range(shape[0])]
    return torch.from_numpy(np.stack(drawn).astype(np.float32)[:, None])


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--folder', type=pathlib.Path, required=True)
    a = a.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    net, saved = Detector(), torch.load(a.checkpoint, map_location='cpu')
    net.load_state_dict(saved['average'])
    net.eval()
    grey = pictures(11, CALIBRATION)
    writer = Writer(net)
    graph = writer.write(grey)
    off = (writer.seen['text'] - torch.sigmoid(net(grey))).abs()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], producer_name='isthmus', ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    (a.folder / 'model.onnx').write_bytes(data)
    x = torch.from_numpy(sample(np.random.default_rng(13), *SHAPE[2:])[0].astype(np.float32).reshape(SHAPE))
    again = Writer(net, writer.steps)
    again.write(x)
    (a.folder / 'selftest.in.f32').write_bytes(x.numpy().astype('<f4').tobytes())
    (a.folder / 'selftest.out.f32').write_bytes(again.seen['text'].numpy().astype('<f4').tobytes())
    print('steps', saved['step'], 'seconds', round(saved['seconds']), 'bytes', len(data))
    print('8 bits instead of 32: mean', float(off.mean()), 'most', float(off.max()))
    print('sha256', hashlib.sha256(data).hexdigest())


if __name__ == '__main__':
    main()
