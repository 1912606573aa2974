"""Writes the trained network as ONNX, a self-test and the card of candidate.yaml beside it, and checks it. Needs torch, onnx, numpy, scipy.

  python3 export.py --checkpoint ghost.pt --folder candidate/mr-ghost

The graph is written node by node, not traced: opset 17, one slice, H and W any multiples of 8. What it gives is the slice as the network
leaves it, and `ghostPercent`, how strong it takes the ghosts for (their root mean square in per cent of the slice's). A slice with less than
LEFT_ALONE comes back as it was, one with more than twice that is corrected wholly.
"""
import argparse
import hashlib
import pathlib

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

import synth
from net import AIR, CELL, DETAIL, LEAST_SHIFT, Ghosts

SIDE = 64
LEFT_ALONE = 4.0


class Graph:
    """Nodes in order; every method gives the name of its output."""

    def __init__(self):
        self.nodes, self.values, self.known = [], [], {}

    def add(self, kind, *inputs, output=None, **attributes):
        output = output or f'{kind}.{len(self.nodes)}'
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def constant(self, array, name=None):
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self.known:
            self.known[key] = name or f'constant.{len(self.values)}'
            self.values.append(numpy_helper.from_array(array.copy(), self.known[key]))
        return self.known[key]

    def number(self, value):
        return self.constant(np.array(value, np.float32))

    def whole(self, *values):
        return self.constant(np.array(values, np.int64))

    def conv(self, layer, h, name):
        inputs = [h, *(self.constant(part.detach().numpy(), f'{name}.{kind}') for kind, part in layer.named_parameters())]
        return self.add('Conv', *inputs, kernel_shape=list(layer.kernel_size), pads=[*layer.padding] * 2)

    def filtered(self, x, kernel):
        """One channel through a small kernel, 0 beyond the border."""
        kernel = np.array(kernel, np.float32)
        reach = [n // 2 for n in kernel.shape]
        return self.add('Conv', x, self.constant(kernel[None, None]), kernel_shape=list(kernel.shape), pads=reach * 2)

    def box(self, x, side):
        return self.add('AveragePool', x, kernel_shape=[side] * 2, pads=[side // 2] * 4, count_include_pad=0)

    def cells(self, x):
        return self.add('AveragePool', x, kernel_shape=[CELL] * 2, strides=[CELL] * 2)

    def times(self, x, factor):
        return self.add('Mul', x, self.number(factor))

    def plus(self, x, term):
        return self.add('Add', x, self.number(term))

    def scaled_log(self, x, least, by):
        return self.add('Div', self.add('Log', self.plus(x, least)), self.number(by))


def shift_of(g, x, air, edges, height, rows):
    """As net.shift_of: rows, [1], and the share, [1,1]."""
    total = g.whole(2, 3)
    room = g.plus(g.add('ReduceSum', air, total), 1)
    quiet = g.add('Div', g.add('ReduceSum', g.add('Mul', x, air), total), room)
    edges = g.add('Transpose', g.add('Mul', g.add('Abs', edges), g.add('Sub', g.number(1), air)), perm=[0, 1, 3, 2])
    apart = g.add('Sub', g.add('Unsqueeze', rows, g.whole(1)), g.add('Unsqueeze', rows, g.whole(0)))
    index = g.add('Unsqueeze', g.add('Mod', apart, height), g.whole(0, 1))
    opposite = g.add('Mod', g.add('Neg', rows), height)

    def over_shifts(field):
        products = g.add('GatherElements', g.add('MatMul', field, edges), index, axis=3)
        one_way = g.add('ReduceSum', products, g.whole(1, 2), keepdims=0)
        return g.add('Add', one_way, g.add('Gather', one_way, opposite, axis=1))

    there = over_shifts(g.add('Mul', g.add('Sub', x, quiet), air))
    room = over_shifts(air)
    least = g.plus(g.times(g.add('ReduceMax', room, axes=[1]), 0.02), 1e-6)
    share = g.add('Div', there, g.add('Add', room, least))
    half = g.add('Unsqueeze', g.add('Div', height, g.constant(np.array(2, np.int64))), g.whole(0))
    share = g.add('Slice', share, g.whole(LEAST_SHIFT), half, g.whole(1))
    by = g.add('Add', g.add('ArgMax', share, axis=1, keepdims=0), g.whole(LEAST_SHIFT))
    return by, g.add('ReduceMax', share, axes=[1])


def seen(g, x):
    """As net.seen."""
    one = g.constant(np.array(1, np.int64))
    height = g.add('Gather', g.add('Shape', x), g.constant(np.array(2, np.int64)))
    rows = g.add('Range', g.constant(np.array(0, np.int64)), height, one)
    power = g.plus(g.add('Sqrt', g.add('ReduceMean', g.add('Mul', x, x), axes=[1, 2, 3])), 1e-6)
    squares = g.add('Mul', power, power)
    air = g.add('Cast', g.add('Less', g.box(x, 11), g.times(power, AIR)), to=TensorProto.FLOAT)
    down, across, bent = (g.filtered(x, kernel) for kernel in ([[-0.5], [0], [0.5]], [[-0.5, 0, 0.5]], [[1], [-2], [1]]))
    by, share = shift_of(g, x, air, down, height, rows)
    slopes = g.add('Concat', down, across, bent, axis=1)
    parts = []
    for field, ways in ((slopes, (1, -1)), (down, (2, -2))):
        for way in ways:
            away = g.add('Mod', g.add('Sub', rows, g.add('Mul', by, g.whole(way))), height)
            parts.append(g.add('Gather', field, away, axis=2))
    parts += [bent, down, g.add('Sub', x, g.box(x, 3))]
    fine = g.add('Concat', *parts, axis=1)
    in_air = g.add('Mul', x, air)
    detail, details = (g.add('Sub', one, g.box(one, 5)) for one in (x, fine))
    told = []
    for limit in DETAIL:
        bound = g.times(power, limit)
        ratio = g.add('Div', detail, bound)
        weight = g.add('Div', g.number(1), g.plus(g.add('Mul', ratio, ratio), 1))
        common = g.cells(g.add('Mul', g.add('Mul', weight, detail), details))
        own = g.cells(g.add('Mul', weight, g.add('Mul', details, details)))
        ridge = g.times(g.add('Mul', bound, bound), 0.1)
        for side in (1, 3, 7):
            a, b = ((one if side == 1 else g.box(one, side)) for one in (common, own))
            told.append(g.add('Div', a, g.add('Add', b, ridge)))
        told.append(g.scaled_log(g.add('Div', g.box(own, 3), squares), 1e-5, 4))
    shown = g.cells(x)
    values = [g.add('Div', shown, power), g.cells(air), g.scaled_log(g.add('Div', g.cells(g.add('Mul', detail, detail)), squares), 1e-6, 4)]
    ghosts = g.add('Div', g.add('Unsqueeze', g.add('Relu', share), g.whole(2, 3)), power)
    left = g.add('Div', g.add('ReduceMean', g.cells(in_air), axes=[2, 3]), power)
    everywhere = g.add('Shape', values[0])
    slices = [g.add('Expand', g.scaled_log(one, 1e-3, 2), everywhere) for one in (ghosts, left)]
    return g.add('Concat', fine, in_air, axis=1), g.add('Concat', *told, *values, *slices, axis=1)


def graph(net, name):
    g = Graph()
    parts, features = seen(g, 'x')
    h = g.conv(net.layers[0], features, 'layers.0')
    for n, layer in enumerate(net.layers[1:-1], 1):
        made = g.conv(layer, g.add('Relu', h), f'layers.{n}')
        h = made if n == 1 else g.add('Add', h, made)
    h = g.add('Relu', h)
    scales = g.constant(np.array([1, 1, CELL, CELL], np.float32))
    coefficients = g.add('Resize', g.conv(net.layers[-1], h, 'coefficients'), '', scales, mode='linear', coordinate_transformation_mode='half_pixel')
    ghosts = g.add('ReduceSum', g.add('Mul', coefficients, parts), g.whole(1))
    level = g.add('ReduceMean', h, axes=[2, 3], keepdims=0)
    for i in (0, 2):
        weight, bias = (g.constant(part.detach().numpy(), f'level.{i}.{kind}') for kind, part in net.level[i].named_parameters())
        level = g.add('Gemm', level, weight, bias, transB=1)
        level = g.add('Relu', level) if i == 0 else level
    percent = g.add('Mul', g.add('Relu', g.plus(g.add('Pow', g.number(10), level), -1e-3)), g.number(100), output='ghostPercent')
    wholly = g.add('Clip', g.plus(g.add('Div', percent, g.number(LEFT_ALONE)), -1), g.number(0), g.number(1))
    g.add('Sub', 'x', g.add('Mul', ghosts, g.add('Unsqueeze', wholly, g.whole(2, 3))), output='y')
    picture = [1, 1, 'h', 'w']
    outputs = [helper.make_tensor_value_info('y', TensorProto.FLOAT, picture), helper.make_tensor_value_info('ghostPercent', TensorProto.FLOAT, [1, 1])]
    return helper.make_graph(g.nodes, name, [helper.make_tensor_value_info('x', TensorProto.FLOAT, picture)], outputs, g.values)


def given(net, x):
    """What the graph must give."""
    made, level = net(x)
    percent = 100 * F.relu(10 ** level - 1e-3)
    return x - (percent / LEFT_ALONE - 1).clamp(0, 1)[:, None, None, None] * (x - made), percent


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--folder', type=pathlib.Path, required=True)
    a = a.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    net, saved = Ghosts(), torch.load(a.checkpoint, map_location='cpu')
    net.load_state_dict(saved['average'])
    model = helper.make_model(graph(net, a.folder.resolve().name), opset_imports=[helper.make_opsetid('', 17)], producer_name='isthmus', ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString(deterministic=True)
    a.folder.mkdir(parents=True, exist_ok=True)
    (a.folder / 'model.onnx').write_bytes(data)
    card = pathlib.Path(__file__).with_name('candidate.yaml').read_text()
    (a.folder / 'card.yaml').write_text(card.replace('SHA256', hashlib.sha256(data).hexdigest()))
    rng = np.random.default_rng(7)
    x = synth.pair(rng, synth.at_rest(rng, SIDE), synth.breathing, 1.0)[0][None, None].astype('<f4')
    made, percent = given(net, torch.from_numpy(x))
    (a.folder / 'selftest.in.f32').write_bytes(x.tobytes())
    (a.folder / 'selftest.out.f32').write_bytes(made.numpy().astype('<f4').tobytes())
    print('steps', saved['step'], 'seconds', round(saved['seconds']), 'parameters', sum(p.numel() for p in net.parameters()), 'bytes', len(data))
    print('ghostPercent of the self-test', percent.item(), 'largest change', float(np.abs(made.numpy() - x).max()))


if __name__ == '__main__':
    main()
