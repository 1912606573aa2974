"""Writes the trained network as ONNX, a self-test beside it, and checks both. Needs torch, onnx, numpy.

  python3 export.py --checkpoint denoise.pt --folder ..
  python3 export.py --checkpoint denoise.pt --folder ../../mr-denoise --twice

The graph is written node by node, not traced: opset 17, any H and W that 8 divides, x and sigma in HU (any unit would do, see net.py).
`--twice`: the graph also runs on the slice turned upside down and gives the mean of both, 0.2 dB better for twice the time.
model.onnx, selftest.in.f32 (x of 1x1x48x64, then sigma) and selftest.out.f32 (y), little-endian float32.
"""
import argparse
import hashlib
import pathlib

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from net import BINOMIAL, Denoiser
from synth import image, unit_noise

SHAPE = (1, 1, 48, 64)
SIGMA_HU = 25.0


def graph(net, both_ways):
    nodes, values = [], []

    def constant(name, array):
        values.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(kind, inputs, output, **attributes):
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolved(name, source, layer, pads=(0, 0, 0, 0), strides=(1, 1)):
        inputs = [source, constant(name + '.weight', layer.weight.detach().numpy()), constant(name + '.bias', layer.bias.detach().numpy())]
        return add('Conv', inputs, name, kernel_shape=list(layer.kernel_size), pads=list(pads), strides=list(strides))

    def block(name, source, layers):
        first = add('Relu', [convolved(name + '.first', source, layers.first, (1, 1, 1, 1))], name + '.relu')
        second = convolved(name + '.second', first, layers.second, (1, 1, 1, 1))
        return add('Relu', [add('Add', [source, second], name + '.sum')], name)

    def turned(source, name):
        first, last = constant(name + '.first', np.array([-1, -1], np.int64)), constant(name + '.last', np.array([-2 ** 31] * 2, np.int64))
        axes, steps = constant(name + '.axes', np.array([2, 3], np.int64)), constant(name + '.steps', np.array([-1, -1], np.int64))
        return add('Slice', [source, first, last, axes, steps], name)

    x = add('Concat', ['x', turned('x', 'upside')], 'ways', axis=0) if both_ways else 'x'
    units = add('SpaceToDepth', [add('Div', [x, 'sigma'], 'units')], 'quarters', blocksize=2)
    edges = constant('edges', np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    head = [add('Pad', [units, edges], 'padded', mode='edge'),
            constant('head.weight', net.head_weight().detach().numpy()), constant('head.bias', net.head.bias.detach().numpy())]
    h = add('Relu', [add('Conv', head, 'head', kernel_shape=[3, 3])], 'head.relu')
    kept = []
    for i, (layers, down) in enumerate(zip(net.before, net.down)):
        kept.append(block(f'before.{i}', h, layers))
        h = add('Relu', [convolved(f'down.{i}', kept[-1], down, strides=(2, 2))], f'down.{i}.relu')
    for i, layers in enumerate(net.deep):
        h = block(f'deep.{i}', h, layers)
    twice = constant('twice', np.array([1, 1, 2, 2], np.float32))
    for i in (1, 0):
        wide = add('Resize', [convolved(f'up.{i}', h, net.up[i]), '', twice], f'up.{i}.wide', mode='nearest',
                   coordinate_transformation_mode='asymmetric', nearest_mode='floor')
        h = block(f'after.{i}', add('Add', [wide, kept[i]], f'both.{i}'), net.after[i])
    last = convolved('tail', h, net.tail, (1, 1, 1, 1))
    noise = add('DepthToSpace', [last], 'noise', blocksize=2, mode='CRD')
    # net.without_low
    means = add('AveragePool', [noise], 'means', kernel_shape=[4, 4], strides=[4, 4])
    around = constant('around', np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    taps = np.outer(BINOMIAL, BINOMIAL).astype(np.float32)[None, None]
    low = add('Conv', [add('Pad', [means, around], 'wider', mode='edge'), constant('binomial', taps)], 'low', kernel_shape=[3, 3])
    scales = constant('scales', np.array([1, 1, 4, 4], np.float32))
    wide = add('Resize', [low, '', scales], 'wide', mode='linear', coordinate_transformation_mode='half_pixel')
    fine = add('Sub', [noise, wide], 'fine')
    if both_ways:
        nodes.append(helper.make_node('Split', [fine], ['fine.0', 'fine.1'], axis=0))
        fine = add('Mul', [add('Add', ['fine.0', turned('fine.1', 'back')], 'fine.sum'), constant('half', np.array(0.5, np.float32))], 'fine.mean')
    add('Sub', ['x', add('Mul', [fine, 'sigma'], 'noiseHU')], 'y')
    picture = ['n', 1, 'h', 'w']
    return helper.make_graph(
        nodes, 'denoise',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, picture),
         helper.make_tensor_value_info('sigma', TensorProto.FLOAT, [1, 1, 1, 1])],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, picture)], values)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--folder', type=pathlib.Path, required=True)
    a.add_argument('--twice', action='store_true')
    a = a.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    net, saved = Denoiser(), torch.load(a.checkpoint, map_location='cpu')
    net.load_state_dict(saved['average'])
    net.eval()
    model = helper.make_model(graph(net, a.twice), opset_imports=[helper.make_opsetid('', 17)], producer_name='isthmus', ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    (a.folder / 'model.onnx').write_bytes(data)
    rng = np.random.default_rng(7)
    clean = image(rng)[:SHAPE[2], :SHAPE[3]] * 600 - 300
    x = (clean + SIGMA_HU * unit_noise(rng, 1, SHAPE[3])[0, :SHAPE[2]]).astype('<f4').reshape(SHAPE)
    told = torch.full((1, 1, 1, 1), SIGMA_HU)
    y = net(torch.from_numpy(x), told)
    if a.twice:
        y = (y + net(torch.from_numpy(x).flip((2, 3)), told).flip((2, 3))) / 2
    y = y.numpy().astype('<f4')
    (a.folder / 'selftest.in.f32').write_bytes(x.tobytes() + np.float32(SIGMA_HU).astype('<f4').tobytes())
    (a.folder / 'selftest.out.f32').write_bytes(y.tobytes())
    print('steps', saved['step'], 'seconds', round(saved['seconds']), 'bytes', len(data))
    print('sha256', hashlib.sha256(data).hexdigest())


if __name__ == '__main__':
    main()
