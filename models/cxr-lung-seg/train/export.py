"""Writes the trained network as ONNX, a self-test beside it, and checks both. Needs torch, onnx, numpy, scipy, PIL.

  python3 export.py --checkpoint lungs.pt --folder ..

The graph is written node by node, not traced: opset 17, H and W any multiples of 16; batch normalisation is folded into the convolutions.
model.onnx, selftest.in.f32 (x of 1x1x64x64) and selftest.out.f32 (logits of 1x3x64x64), little-endian float32.
"""
import argparse
import hashlib
import json
import pathlib
import re

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from net import CLASSES, UNet
from synth import example

SIDE = 64


def folded(block):
    convolution, norm, _ = block
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def graph(net):
    nodes, values = [], []

    def constant(name, array):
        values.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(name, source, weight, bias, size=3):
        inputs = [source, constant(name + '.weight', weight.detach().numpy()), constant(name + '.bias', bias.detach().numpy())]
        return add('Conv', inputs, name, kernel_shape=[size, size], pads=[size // 2] * 4)

    def level(name, blocks, h):
        for i, block in enumerate(blocks):
            h = add('Relu', [conv(f'{name}.{i}', h, *folded(block))], f'{name}.{i}.relu')
        return h

    # SpaceToDepth orders channels by place first; with one channel that is pixel-unshuffle.
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
    last = conv('last', h, net.last.weight, net.last.bias, 1)
    add('DepthToSpace', [last], 'y', blocksize=2, mode='CRD')
    return helper.make_graph(
        nodes, 'cxr-lung-seg',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, ['n', 1, 'h', 'w'])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, ['n', CLASSES, 'h', 'w'])], values)


def card(text, name, sha256, saved):
    """The card with another graph: what was measured of the old one is taken out."""
    text = re.sub(r"^sha256: .*$", f"sha256: '{sha256}'", text, flags=re.M)
    if name == 'cxr-lung-seg' and not saved['data']:
        return text
    text = re.sub(r'^id: .*$', f'id: {name}', text, flags=re.M)
    text = re.sub(r'^measured:.*?(?=^\S)', 'measured: []\n', text, flags=re.M | re.S)
    text = re.sub(r'^  data: .*$', f"  data: {json.dumps('pictures and masks of the site; ' + str(saved['step']) + ' steps')}", text, flags=re.M)
    return re.sub(r'^    name: cxr-lung-seg$', f'    name: {name}', text, flags=re.M)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--folder', type=pathlib.Path, required=True)
    a.add_argument('--card', type=pathlib.Path, help='a card to write into the folder with this graph, and the folder\'s name as id')
    a = a.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    net, saved = UNet(), torch.load(a.checkpoint, map_location='cpu')
    net.load_state_dict(saved['average'])
    net.eval()
    model = helper.make_model(graph(net), opset_imports=[helper.make_opsetid('', 17)], producer_name='isthmus', ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    (a.folder / 'model.onnx').write_bytes(data)
    x = example(np.random.default_rng(7), 2 * SIDE)[0][None, None, ::2, ::2].astype('<f4')
    y = net(torch.from_numpy(x)).numpy().astype('<f4')
    (a.folder / 'selftest.in.f32').write_bytes(x.tobytes())
    (a.folder / 'selftest.out.f32').write_bytes(y.tobytes())
    print('steps', saved['step'], 'seconds', round(saved['seconds']), 'parameters', sum(p.numel() for p in net.parameters()), 'bytes', len(data))
    sha256 = hashlib.sha256(data).hexdigest()
    print('sha256', sha256)
    if a.card:
        (a.folder / 'card.yaml').write_text(card(a.card.read_text(), a.folder.resolve().name, sha256, saved))
        print('card', a.folder / 'card.yaml')


if __name__ == '__main__':
    main()
