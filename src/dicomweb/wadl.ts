/** A WADL document (PS3.18 Annex H), written as XML or as the JSON of Annex G. */

export interface WadlElement {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: readonly WadlElement[];
  /** Of a `doc` alone. */
  readonly text?: string;
}

/** Elements of which a parent has one at most (PS3.18 G.2.2, H); every other name stands for a list. */
const UNIQUE: ReadonlySet<string> = new Set(['application', 'resources', 'request']);

export function formatWadlXml(root: WadlElement): string {
  return `<?xml version="1.0" encoding="UTF-8"?>\n${xmlOf(root)}`;
}

function xmlOf({ name, attributes, children, text }: WadlElement): string {
  const start = `<${name}${Object.entries(attributes)
    .map(([key, value]) => ` ${key}="${escape(value)}"`)
    .join('')}`;
  if (text !== undefined) return `${start}>${escape(text)}</${name}>\n`;
  return children.length === 0 ? `${start}/>\n` : `${start}>\n${children.map(xmlOf).join('')}</${name}>\n`;
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}

/** PS3.18 G.2: attributes are members whose names begin with `@`, children are objects or lists under their names. */
export function formatWadlJson(root: WadlElement): string {
  return JSON.stringify({ [root.name]: jsonOf(root) });
}

function jsonOf({ attributes, children, text }: WadlElement): Record<string, unknown> {
  const members: [string, unknown][] = Object.entries(attributes).map(([key, value]) => [`@${key}`, value]);
  for (const name of new Set(children.map((child) => child.name))) {
    const values = children.filter((child) => child.name === name).map(jsonOf);
    members.push([name, UNIQUE.has(name) ? values[0] : values]);
  }
  if (text !== undefined) members.push(['value', text]);
  return Object.fromEntries(members);
}
