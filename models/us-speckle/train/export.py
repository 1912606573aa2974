"""Writes a trained residual U-Net as ONNX, a self-test beside it, and checks both. Needs torch, onnx, numpy, scipy.

  python3 export.py --synth synth.py --checkpoint speckle.pt --folder ..

The graph is written node by node, not traced: opset 17, H and W any multiples of 16; batch normalisation is folded into the convolutions.
model.onnx, selftest.in.f32 and selftest.out.f32 (1x1x64x64 each), little-endian float32.
"""
import argparse
import hashlib
import pathlib

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from net import Residual
from train import recipe

SIDE = 64


def folded(block):
    convolution, norm, _ = block
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def graph(net, name):
    nodes, values = [], []

    def constant(name, array):
        values.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(name, source, weight, bias):
        inputs = [source, constant(name + '.weight', weight.detach().numpy()), constant(name + '.bias', bias.detach().numpy())]
        return add('Conv', inputs, name, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def level(name, blocks, h):
        for i, block in enumerate(blocks):
            h = add('Relu', [conv(f'{name}.{i}', h, *folded(block))], f'{name}.{i}.relu')
        return h

    h = add('SpaceToDepth', ['x'], 'quarters', blocksize=2)
    twice = constant('twice', np.array([1, 1, 2, 2], np.float32))
    kept = []
    for i, blocks in enumerate(net.down):
        if i > 0:
            h = add('MaxPool', [h], f'pool.{i}', kernel_shape=[2, 2], strides=[2, 2])
        h = level(f'down.{i}', blocks, h)
        kept.append(h)
    for i, (blocks, skip) in enumerate(zip(net.up, reversed(kept[:-1]))):
        wide = add('Resize', [h, '', twice], f'wide.{i}', mode='nearest', coordinate_transformation_mode='asymmetric', nearest_mode='floor')
        h = level(f'up.{i}', blocks, add('Concat', [wide, skip], f'both.{i}', axis=1))
    last = conv('last', h, net.last.weight, net.last.bias)
    add('Sub', ['x', add('DepthToSpace', [last], 'residual', blocksize=2, mode='CRD')], 'y')
    picture = ['n', 1, 'h', 'w']
    return helper.make_graph(
        nodes, name, [helper.make_tensor_value_info('x', TensorProto.FLOAT, picture)],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, picture)], values)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--synth', required=True)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--folder', type=pathlib.Path, required=True)
    a = a.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    net, saved = Residual(), torch.load(a.checkpoint, map_location='cpu')
    net.load_state_dict(saved['average'])
    net.eval()
    model = helper.make_model(graph(net, a.folder.resolve().name), opset_imports=[helper.make_opsetid('', 17)], producer_name='isthmus', ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    (a.folder / 'model.onnx').write_bytes(data)
    x = recipe(a.synth)(np.random.default_rng(7), SIDE)[0][None, None].astype('<f4')
    (a.folder / 'selftest.in.f32').write_bytes(x.tobytes())
    (a.folder / 'selftest.out.f32').write_bytes(net(torch.from_numpy(x)).numpy().astype('<f4').tobytes())
    print('steps', saved['step'], 'seconds', round(saved['seconds']), 'parameters', sum(p.numel() for p in net.parameters()), 'bytes', len(data))
    print('sha256', hashlib.sha256(data).hexdigest())


if __name__ == '__main__':
    main()
