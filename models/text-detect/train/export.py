"""Writes the trained network as ONNX, a self-test beside it, and checks both. Needs torch, onnx, numpy, scipy, Pillow, fonts.

  python3 export.py --checkpoint text.pt --folder ..

The graph is written node by node, not traced: opset 17, any height and width that are multiples of 16. `grey` holds 0..255, `text` the
probability per cell of 4x4 pixels. model.onnx, selftest.in.f32 (1x1x96x128), selftest.out.f32 (1x1x24x32), little-endian float32.
"""
import argparse
import hashlib
import pathlib

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from net import Detector
from synth import sample

SHAPE = (1, 1, 96, 128)


def graph(net):
    nodes, values = [], []

    def constant(name, array):
        values.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(name, source, weight=None, pad=True):
        layer = getattr(net, name)
        weight = layer.weight if weight is None else weight
        d = layer.dilation[0]
        side = d * (weight.shape[-1] // 2) if pad else 0
        inputs = [source, constant(name + '.weight', weight.detach().numpy()), constant(name + '.bias', layer.bias.detach().numpy())]
        return add('Conv', inputs, name, kernel_shape=list(weight.shape[2:]), pads=[side] * 4, strides=list(layer.stride), dilations=[d, d])

    def relu(source):
        return add('Relu', [source], source + '.relu')

    def block(name, source, layers):
        h = source
        for i, layer in enumerate(layers):
            h = conv(layer, h if i == 0 else relu(h))
        return relu(add('Add', [source, h], name))

    def twice(source):
        return add('Resize', [source, '', constant(source + '.scales', np.array([1, 1, 2, 2], np.float32))], source + '.twice',
                   mode='nearest', coordinate_transformation_mode='asymmetric', nearest_mode='floor')

    units = add('Div', ['grey', constant('unit', np.array(64, np.float32))], 'units')
    # torch's pixel_unshuffle orders channels row by row within the cell, as SpaceToDepth does for one channel.
    q = add('SpaceToDepth', [units], 'cells', blocksize=4)
    q = add('Pad', [q, constant('edges', np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))], 'padded', mode='edge')
    q = relu(conv('head', q, net.head_weight(), pad=False))
    q = block('a', q, ['a1', 'a2'])
    e = relu(conv('down1', q))
    e = block('b', e, ['b1', 'b2'])
    s = relu(conv('down2', e))
    s = block('c', s, ['c1', 'c2'])
    e = relu(add('Add', [e, twice(conv('up2', s))], 'eighth'))
    e = block('dd', e, ['d'])
    q = relu(add('Add', [q, twice(conv('up1', e))], 'quarter'))
    q = block('ee', q, ['e'])
    add('Sigmoid', [conv('tail', q)], 'text')
    return helper.make_graph(
        nodes, 'text-detect',
        [helper.make_tensor_value_info('grey', TensorProto.FLOAT, ['n', 1, 'h', 'w'])],
        [helper.make_tensor_value_info('text', TensorProto.FLOAT, ['n', 1, 'h4', 'w4'])], values)


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
    model = helper.make_model(graph(net), opset_imports=[helper.make_opsetid('', 17)], producer_name='isthmus', ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    (a.folder / 'model.onnx').write_bytes(data)
    x = sample(np.random.default_rng(7), *SHAPE[2:])[0].astype('<f4').reshape(SHAPE)
    y = torch.sigmoid(net(torch.from_numpy(x))).numpy().astype('<f4')
    (a.folder / 'selftest.in.f32').write_bytes(x.tobytes())
    (a.folder / 'selftest.out.f32').write_bytes(y.tobytes())
    print('steps', saved['step'], 'seconds', round(saved['seconds']), 'bytes', len(data), 'self-test', list(y.shape), 'highest', y.max())
    print('sha256', hashlib.sha256(data).hexdigest())


if __name__ == '__main__':
    main()
