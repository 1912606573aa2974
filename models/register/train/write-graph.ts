/**
 * Writes the registration graphs: no weights, no training data, any volume shape whose axes are multiples of 4.
 *
 *   node models/register/train/write-graph.ts            # writes models/register/*.onnx, the same bytes every time
 *
 * Every graph takes `fixed` and `moving`, float32 [1,1,D,H,W] on one near-isotropic grid, about [0,1], and gives
 * `field`, float32 [1,3,D,H,W], channels (z,y,x), voxels: moving(x + field(x)) lies on fixed(x).
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { box, compose, concat, lattice, newDraft, sub, warp } from './graph.ts';
import { match, mindSsc } from './matching.ts';
import type { Level } from './matching.ts';
import { FLOAT, encodeGraph, encodeModel, encodeNode, encodeValue } from './onnx.ts';
import type { Message } from './onnx.ts';

const OPSET = 20;

const WIDE: Level = { pool: 4, reach: 4, couplings: [0.003, 0.03, 0.3, 1], smooth: 1 };
const MIDDLE: Level = { pool: 2, reach: 2, couplings: [0.01, 0.1, 1], smooth: 1 };

export const RECIPES = {
  'deform-search': [WIDE, MIDDLE],
} as const satisfies Readonly<Record<string, readonly Level[]>>;

/** Discrete searches, one after the other, as the bytes of an ONNX file. */
export function writeGraph(levels: readonly Level[]): Message {
  const g = newDraft();
  const grid = lattice(g, 'fixed');
  const fixed = mindSsc(g, 'fixed');
  const nothing = sub(g, 'fixed', 'fixed');
  let u = concat(g, [nothing, nothing, nothing], 1);
  for (const [i, level] of levels.entries()) {
    // The descriptor is not invariant to rotation: it is computed again on the image as moved so far.
    const moving = mindSsc(g, i === 0 ? 'moving' : warp(g, 'moving', u, grid));
    const du = match(g, fixed, moving, level, grid);
    u = box(g, i === 0 ? du : compose(g, u, du, grid), 1, 3);
  }
  g.nodes.push(encodeNode('Identity', [u], ['field'], {}));
  const value = (name: string, count: number) => encodeValue(name, FLOAT, [1, count, 'D', 'H', 'W']);
  const graph = encodeGraph({
    name: 'registration',
    nodes: g.nodes,
    constants: g.constants,
    inputs: [value('fixed', 1), value('moving', 1)],
    outputs: [value('field', 3)],
  });
  return encodeModel(graph, OPSET, 'isthmus');
}

/** All graphs by the name of their file. */
export function writeAll(): Map<string, Message> {
  return new Map(Object.entries(RECIPES).map(([name, levels]) => [name, writeGraph(levels)]));
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, '..');
  for (const [name, bytes] of writeAll()) writeFileSync(join(folder, `${name}.onnx`), bytes);
}
