/** The command line: each command is loaded when it is called, does its work, prints for a person and answers the exit status. */
import { SOFTWARE_VERSION } from './dicom/implementation.ts';
import { Refusal } from './dicom/refusal.ts';

const USAGE = `usage:
  isthmus serve                                                  the gateway: DIMSE, DICOMweb, pipelines
  isthmus deidentify IN OUT --profile NAME [--project NAME]      de-identified copies of every object in IN, report.json and report.txt
                     [--recipient NAME] [--threads N]
  isthmus deidentify IN --profile NAME --dry-run [--json]        shows every attribute before and after (identities!), writes nothing
  isthmus run register   --input DIR --fixed DIR --output DIR    derived DICOM of the series in --input (which is moved)
                         [--transform rigid|affine|deformable]
  isthmus run MODEL      --input DIR --output DIR                ct-denoise, or any model with a manifest
  isthmus import-ctp-script FILE                                 device rules (devices.yaml) from a script of CTP's DicomPixelAnonymizer
  isthmus verify                                                 reads every stored object and the audit trail; the gateway must be down
  isthmus reindex                                                makes the index anew from the packs; the gateway must be down
  isthmus vault status                                           how many patients and rows, under which secret
  isthmus vault rotate --to-file FILE | --to-env NAME | --to-command 'PROGRAM ARGUMENT ...'
                                                                 puts the secrets under another key; pseudonyms stay
  isthmus vault reseal                                           seals every row under a new secret and destroys the old one
  isthmus erase --project NAME --pseudonym ID | --record FILE    a person with all that is theirs; FILE holds {"issuer": "", "id": ""}
                --reason WORD --reference NUMBER                 prints the certificate
  isthmus --version
Configuration: ISTHMUS_CONFIG (folder), data: ISTHMUS_DATA (folder).
`;

/** @returns the exit status: 0 done, 1 failed or refused, 2 called wrongly */
export async function runCommand(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  try {
    return (await runNamed(command, rest)) ?? calledWrongly();
  } catch (error) {
    if (error instanceof Refusal) {
      process.stderr.write(`${error.reason}: ${error.message}\n`);
      return 1;
    }
    if (error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')) {
      process.stderr.write(`${error.message}\n${USAGE}`);
      return 2;
    }
    if (error instanceof Error && 'code' in error && DAMAGED.has(String(error.code))) {
      process.stderr.write(
        `BadConfiguration: the database cannot be read (${String(error.code)}): bring it back from its backup\n`,
      );
      return 1;
    }
    if (error instanceof Error && 'path' in error && 'code' in error && MENDABLE.has(String(error.code))) {
      process.stderr.write(`BadConfiguration: ${String(error.path)} cannot be used: ${String(error.code)}\n`);
      return 1;
    }
    if (
      error instanceof Error &&
      'syscall' in error &&
      error.syscall === 'listen' &&
      'port' in error &&
      'code' in error
    ) {
      const why = error.code === 'EADDRINUSE' ? 'another process listens there' : String(error.code);
      process.stderr.write(`BadConfiguration: port ${String(error.port)} cannot be listened on: ${why}\n`);
      return 1;
    }
    throw error;
  }
}

/** undefined: called wrongly. */
async function runNamed(command: string | undefined, args: string[]): Promise<number | undefined> {
  if (args.some((argument) => argument === '--help' || argument === '-h')) {
    process.stdout.write(USAGE);
    return 0;
  }
  if (args.length > 0 && BARE.has(command ?? '')) {
    process.stderr.write(`${command} takes nothing: settings stand in the configuration and the environment\n`);
    return undefined;
  }
  switch (command) {
    case 'serve':
      return (await import('./commands/serve.ts')).serve();
    case 'deidentify':
      return (await import('./commands/deidentify-folder.ts')).deidentifyCommand(args);
    case 'import-ctp-script':
      return (await import('./commands/import-ctp-script.ts')).importCtpScript(args);
    case 'run':
      return (await import('./commands/run.ts')).runPipeline(args);
    case 'verify':
      return (await import('./commands/upkeep.ts')).verifyAll();
    case 'reindex':
      return (await import('./commands/upkeep.ts')).reindexAll();
    case 'vault':
      return (await import('./commands/vault.ts')).vaultCommand(args);
    case 'erase':
      return (await import('./commands/vault.ts')).eraseCommand(args);
    case '--help':
    case '-h':
    case 'help':
      process.stdout.write(USAGE);
      return 0;
    case '--version':
      process.stdout.write(`${SOFTWARE_VERSION}\n`);
      return 0;
    case undefined:
      return undefined;
    default:
      process.stderr.write(`${command} is no command\n`);
      return undefined;
  }
}

/** Whoever says more than the name of these means something that they do not do. */
const BARE: ReadonlySet<string> = new Set(['serve', 'verify', 'reindex']);

function calledWrongly(): number {
  process.stderr.write(USAGE);
  return 2;
}

/** With the database the way back to the patients is lost, which no new index replaces. */
const DAMAGED: ReadonlySet<string> = new Set(['SQLITE_NOTADB', 'SQLITE_CORRUPT', 'SQLITE_CANTOPEN']);

/** What a person can mend about a folder or file of the configuration. */
const MENDABLE: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENOTDIR', 'EEXIST']);
