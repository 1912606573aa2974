/** The type an attribute has in an Information Object Definition: PS3.3 Annex A (modules of an IOD) and C (attributes), PS3.5 7.4. */
import { readFileSync } from 'node:fs';

export type AttributeType = '1' | '1C' | '2' | '2C' | '3';

/** The attributes of a module or of a sequence's items: tag -> type, and the nodes of the items where it is a sequence. */
type Node = Map<number, { readonly type: AttributeType; readonly items: readonly number[] }>;

interface Table {
  readonly sopClasses: Readonly<Record<string, string>>;
  readonly iods: Readonly<Record<string, readonly number[]>>;
  readonly rows: readonly Readonly<Record<string, string>>[];
}

const CONTENT_SEQUENCE = 0x0040a730;
const STRICTEST_FIRST: readonly AttributeType[] = ['1', '1C', '2', '2C', '3'];

let table: Table | undefined;
const nodes = new Map<number, Node>();

/** Read at the first question: only de-identification asks. */
function readTable(): Table {
  table ??= JSON.parse(
    readFileSync(new URL('./standard/attribute-types-2026b.json', import.meta.url), 'utf8'),
  ) as Table;
  return table;
}

/**
 * The type of the attribute at the end of `path` (sequence tags, then the attribute's) in instances of a SOP Class.
 * Where several modules have it the strictest type holds: 1, 1C, 2, 2C, 3; so it does for attributes of optional modules,
 * since an attribute that is there means that its module is. Undefined: the class is unknown or its IOD does not have it there.
 */
export function attributeType(sopClassUID: string, path: readonly number[]): AttributeType | undefined {
  const { sopClasses, iods } = readTable();
  const iod = sopClasses[sopClassUID];
  let level = iod === undefined ? undefined : iods[iod];
  let type: AttributeType | undefined;
  for (const [depth, tag] of path.entries()) {
    if (level === undefined) return undefined;
    const inContent = depth > 0 && path[depth - 1] === CONTENT_SEQUENCE && tag === CONTENT_SEQUENCE;
    const found = level.map((index) => nodeAt(index).get(tag)).filter((entry) => entry !== undefined);
    // Content items contain content items without end (PS3.3 C.17.3.2); the table shows the first level.
    if (found.length === 0 && inContent) continue;
    if (found.length === 0) return undefined;
    type = STRICTEST_FIRST.find((candidate) => found.some((entry) => entry.type === candidate));
    level = found.flatMap((entry) => entry.items);
  }
  return type;
}

/** Whether `attributeType` can answer for a SOP Class. */
export function hasAttributeTypes(sopClassUID: string): boolean {
  return readTable().sopClasses[sopClassUID] !== undefined;
}

function nodeAt(index: number): Node {
  const known = nodes.get(index);
  if (known !== undefined) return known;
  const node: Node = new Map();
  for (const [tag, value] of Object.entries(readTable().rows[index] ?? {})) {
    const [type, items] = value.split(':');
    node.set(Number.parseInt(tag, 16), {
      type: type as AttributeType,
      items: items === undefined ? [] : [Number(items)],
    });
  }
  nodes.set(index, node);
  return node;
}
