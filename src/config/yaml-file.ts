/** YAML files checked against their schemas in config/schema; what does not fit is refused with file, line and reason. */
import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import { LineCounter, parseDocument, stringify, type Document } from 'yaml';
import { Refusal } from '../dicom/refusal.ts';

const SCHEMAS = fileURLToPath(new URL('../../config/schema', import.meta.url));

export interface LocatedYaml {
  readonly value: unknown;
  /** The line, from 1, of what lies at this path. */
  lineOf(path: readonly (string | number)[]): number;
}

/**
 * A YAML file checked against `config/schema/<schema>.schema.json`.
 * @throws Refusal BadConfiguration with file, line and reason
 */
export function readYamlFile(file: string, schema: string): unknown {
  return readLocatedYaml(file, schema).value;
}

/** A configuration file's text. */
export function formatYaml(value: unknown): string {
  return stringify(value, { lineWidth: 0 });
}

/** What a profile made by a person at the door says, against the schema of profiles. @throws Refusal BadRequest */
export function checkProfile(value: unknown): void {
  const validate = validator('profile');
  if (!validate(value)) throw new Refusal('BadRequest', describe(validate.errors ?? []).sentence);
}

export function readLocatedYaml(file: string, schema: string): LocatedYaml {
  const lines = new LineCounter();
  const document = parseDocument(readText(file), { lineCounter: lines, uniqueKeys: true });
  const lineOf = (path: readonly (string | number)[]): number => lineAt(document, lines, path);
  const [syntaxError] = document.errors;
  if (syntaxError !== undefined) {
    const { line } = lines.linePos(syntaxError.pos[0]);
    throw new Refusal(
      'BadConfiguration',
      `${basename(file)} line ${line}: ${syntaxError.message.replace(/ at line \d+, column \d+:?[^]*$/, '')}`,
    );
  }
  const value = plainValue(document, file);
  const validate = validator(schema);
  if (!validate(value)) {
    const { path, sentence } = describe(validate.errors ?? []);
    throw new Refusal('BadConfiguration', `${basename(file)} line ${lineOf(path)}: ${sentence}`);
  }
  return { value, lineOf };
}

function plainValue(document: Document, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch {
    throw new Refusal('BadConfiguration', `${basename(file)}: its aliases do not resolve, or to too much`);
  }
}

/** The line of the node at `path`, or of the nearest one above it. */
function lineAt(document: Document, lines: LineCounter, path: readonly (string | number)[]): number {
  for (let length = path.length; length >= 0; length--) {
    const node: unknown = length === 0 ? document.contents : document.getIn(path.slice(0, length), true);
    if (typeof node === 'object' && node !== null && 'range' in node && Array.isArray(node.range)) {
      return lines.linePos(Number(node.range[0])).line;
    }
  }
  return 1;
}

/** Compiling a schema costs tens of milliseconds, for each profile anew, and the files never change while running. */
function validator(schema: string): ValidateFunction {
  let compiled = VALIDATORS.get(schema);
  if (compiled === undefined) {
    const file = join(SCHEMAS, `${schema}.schema.json`);
    // That the schemas are schemas is a test's to hold: looked at here it would cost each start 200 ms.
    compiled = new Ajv({ allErrors: true, allowUnionTypes: true, validateSchema: false }).compile(
      JSON.parse(readText(file)) as object,
    );
    VALIDATORS.set(schema, compiled);
  }
  return compiled;
}

const VALIDATORS = new Map<string, ValidateFunction>();

/** One sentence for the deepest fault: of alternatives the nearest is what the writer meant. */
function describe(errors: readonly ErrorObject[]): { path: (string | number)[]; sentence: string } {
  const deepest = [...errors].sort((a, b) => b.instancePath.length - a.instancePath.length)[0];
  if (deepest === undefined) return { path: [], sentence: 'does not fit the schema' };
  const path = deepest.instancePath
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part));
  const where = path.length === 0 ? 'the file' : path.join('.');
  const params = deepest.params as Record<string, unknown>;
  if (deepest.keyword === 'additionalProperties') {
    const key = String(params['additionalProperty']);
    return { path: [...path, key], sentence: `${where}: unknown key "${key}"` };
  }
  if (deepest.keyword === 'enum')
    return { path, sentence: `${where} must be one of ${JSON.stringify(params['allowedValues'])}` };
  return { path, sentence: `${where} ${deepest.message ?? 'does not fit the schema'}` };
}

/** @throws Refusal BadConfiguration */
export function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    throw new Refusal('BadConfiguration', `${file} cannot be read`);
  }
}
