/**
 * An isolation forest (Liu 2008): what random splits set apart from all others at once is unlike them. Grown by a model's recipe on what the
 * model was made for, or by the intake check on a site's own earlier series.
 */

/** A node of a tree: [feature, threshold, left, right] with the numbers of nodes, or [samples that ended here]. */
type Node = readonly [number, number, number, number] | readonly [number];
export type Tree = readonly Node[];

export interface Forest {
  /** Samples that each tree was grown on. */
  readonly samples: number;
  readonly trees: readonly Tree[];
}

export interface Growth {
  readonly trees: number;
  readonly samples: number;
  /** Where chance comes from: the same numbers grow the same forest. */
  uniform(low: number, high: number): number;
}

/** Each vector has the same features; `samples` of them, drawn without putting back, make a tree. */
export function growForest(vectors: readonly (readonly number[])[], growth: Growth): Forest {
  const samples = Math.min(growth.samples, vectors.length);
  return { samples, trees: Array.from({ length: growth.trees }, () => grown(drawn(vectors, samples, growth), growth)) };
}

/** 2^(-mean path / c(samples)): about 0.4 for what is like the others, above 0.6 for what is isolated at once. */
export function isolationOf({ trees, samples }: Forest, values: readonly number[]): number {
  const total = trees.reduce((sum, tree) => sum + pathLength(tree, values), 0);
  return 2 ** (-total / trees.length / expectedPath(samples));
}

/** @throws Error when a tree leads out of itself or never ends */
export function checkTree(tree: Tree, features: number): void {
  tree.forEach(([feature, , left = 0, right = 0], at) => {
    // Children come after their parent: every path ends.
    const leads = Math.min(left, right) > at && Math.max(left, right) < tree.length && feature < features;
    if (tree[at]?.length !== 1 && !leads) throw new Error('a tree leads out of itself');
  });
}

/** Mean length of an unsuccessful search in a binary tree of n: what a leaf that was not split further stands for. */
function expectedPath(n: number): number {
  if (n <= 1) return 0;
  return 2 * (Math.log(n - 1) + 0.5772156649) - (2 * (n - 1)) / n;
}

function pathLength(tree: Tree, values: readonly number[]): number {
  let [at, depth] = [0, 0];
  for (;;) {
    const node = tree[at]!;
    if (node.length === 1) return depth + expectedPath(node[0]);
    const [feature, threshold, left, right] = node;
    at = values[feature]! < threshold ? left : right;
    depth++;
  }
}

function drawn(vectors: readonly (readonly number[])[], samples: number, { uniform }: Growth): (readonly number[])[] {
  const left = [...vectors];
  return Array.from({ length: samples }, () => left.splice(Math.floor(uniform(0, left.length)), 1)[0]!);
}

/** Splits a random feature at a random value until everyone is alone or the mean depth is reached. */
function grown(vectors: readonly (readonly number[])[], { uniform }: Growth): Tree {
  const nodes: Node[] = [];
  const deepest = Math.ceil(Math.log2(vectors.length)) + 2;
  const add = (here: readonly (readonly number[])[], depth: number): number => {
    const at = nodes.length;
    nodes.push([here.length]);
    const width = here[0]?.length ?? 0;
    const spread = Array.from({ length: width }, (_, f) => {
      const values = here.map((vector) => vector[f]!);
      return [f, Math.min(...values), Math.max(...values)] as const;
    }).filter(([, low, high]) => high > low);
    if (here.length <= 1 || depth >= deepest || spread.length === 0) return at;
    const [feature, low, high] = spread[Math.floor(uniform(0, spread.length))]!;
    const threshold = Number(uniform(low, high).toPrecision(5));
    const left = add(
      here.filter((vector) => vector[feature]! < threshold),
      depth + 1,
    );
    const right = add(
      here.filter((vector) => !(vector[feature]! < threshold)),
      depth + 1,
    );
    nodes[at] = [feature, threshold, left, right];
    return at;
  };
  add(vectors, 0);
  return nodes;
}
