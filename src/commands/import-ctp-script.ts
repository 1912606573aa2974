/** `isthmus import-ctp-script`: device rules from a script of CTP's DicomPixelAnonymizer. */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { formatYaml } from '../config/yaml-file.ts';
import { readCtpScript } from '../deidentify/pixels/ctp-script.ts';
import { compileDevices } from '../deidentify/pixels/devices.ts';

/** @returns the exit status; undefined when it was called wrongly */
export async function importCtpScript(args: string[]): Promise<number | undefined> {
  const { positionals } = parseArgs({ args, allowPositionals: true, options: {} });
  const [name] = positionals;
  if (name === undefined || positionals.length > 1) return undefined;
  const devices = readCtpScript(await readFile(name, 'utf8'));
  // Says here, not at the next start, what names no attribute.
  compileDevices({ devices });
  process.stdout.write(formatYaml({ devices }));
  process.stderr.write(`${devices.length} device rules\n`);
  return 0;
}
