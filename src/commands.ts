/** What each command of the command line does; they print for a person and answer the exit status. */
import { createReadStream } from 'node:fs';
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import type { Server } from 'node:http';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { reindex, verify } from './archive/reindex.ts';
import { firstBrokenRow } from './audit.ts';
import { closeCodecs, openCodecs, type CodecPool } from './codecs/pool.ts';
import { deidentifyFiles } from './commands/deidentify-folder.ts';
import { formatYaml, readConfig } from './config.ts';
import { openDatabase } from './database.ts';
import { readCtpScript } from './deidentify/pixels/ctp-script.ts';
import { compileDevices } from './deidentify/pixels/devices.ts';
import { asciiValue } from './dicom/data-set.ts';
import type { Head } from './dicom/object.ts';
import { readObject, receiveObject } from './dicom/part10.ts';
import { encapsulatedExtents, pixelLayout, scanFragments } from './dicom/pixel-data.ts';
import { Refusal } from './dicom/refusal.ts';
import { swapWords } from './dicom/writer.ts';
import type { SeriesInstance } from './dicom/volume.ts';
import { startScp, type Scp } from './dimse/scp.ts';
import { closeGateway, lockDataFolder, openGateway } from './gateway.ts';
import { openLog } from './log.ts';
import { closePool, openPool } from './pipelines/pool.ts';
import { TRANSFORMS } from './pipelines/registration-settings.ts';
import { adminRouter, consoleRouter } from './admin/router.ts';
import { announceClosing, buildApp, listen } from './server.ts';
import { loadedFrom } from './workflow/each-volume.ts';
import { decodedInstance, isDecoded, type FrameSource } from './workflow/load-series.ts';
import type { Produced } from './workflow/produce.ts';
import { commitmentHandlers } from './workflow/commit.ts';
import { queryHandlers } from './workflow/query-retrieve.ts';
import { eraseCommand, VAULT_USAGE, vaultCommand } from './commands/vault.ts';
import { storeHandlers } from './workflow/receive.ts';
import { startTimetable } from './workflow/timetable.ts';

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
${VAULT_USAGE}Configuration: ISTHMUS_CONFIG (folder), data: ISTHMUS_DATA (folder).
`;

/** @returns the exit status: 0 done, 1 failed or refused, 2 called wrongly */
export async function runCommand(args: readonly string[]): Promise<number> {
  const [command, ...rest] = args;
  try {
    switch (command) {
      case 'serve':
        return await serve();
      case 'deidentify':
        return await deidentifyFolder(rest);
      case 'import-ctp-script':
        return await importCtpScript(rest);
      case 'run':
        return await runPipeline(rest);
      case 'verify':
        return await verifyAll();
      case 'reindex':
        return await reindexAll();
      case 'vault':
        return (await vaultCommand(rest)) ?? usage('vault');
      case 'erase':
        return (await eraseCommand(rest)) ?? usage('erase');
      default:
        return usage(command);
    }
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
      process.stderr.write(
        `BadConfiguration: port ${String(error.port)} cannot be listened on: ${String(error.code)}\n`,
      );
      return 1;
    }
    throw error;
  }
}

/** With the database the way back to the patients is lost, which no new index replaces. */
const DAMAGED: ReadonlySet<string> = new Set(['SQLITE_NOTADB', 'SQLITE_CORRUPT', 'SQLITE_CANTOPEN']);

/** What a person can mend about a folder or file of the configuration. */
const MENDABLE: ReadonlySet<string> = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOENT', 'ENOTDIR', 'EEXIST']);

function usage(command: string | undefined): number {
  const asked = command === '--help' || command === '-h' || command === 'help';
  if (command !== undefined && !asked && command !== 'vault' && command !== 'erase')
    process.stderr.write(`${command} is no command\n`);
  (asked ? process.stdout : process.stderr).write(USAGE);
  return asked ? 0 : 2;
}

async function serve(): Promise<number> {
  const config = readConfig();
  const log = openLog(config.logLevel);
  const gateway = await openGateway(config, log);
  const { dimse } = config;
  const app = buildApp(gateway, { api: adminRouter(gateway), console: consoleRouter() });
  let scp: Scp | undefined;
  let server: Server | undefined;
  try {
    server = await listen(app, config.http);
    scp = await startScp(
      {
        host: dimse.host,
        port: dimse.port,
        aeTitle: dimse.aeTitle,
        calledAEs: [...dimse.calledAEs],
        callingAEs: [...dimse.callingAEs],
        maxAssociations: dimse.maxAssociations,
        idleMs: dimse.idleMs,
        ...(dimse.tls === undefined
          ? {}
          : {
              tls: {
                key: dimse.tls.key,
                cert: dimse.tls.certificate,
                ...(dimse.tls.authorities === undefined ? {} : { ca: dimse.tls.authorities, requestCert: true }),
              },
            }),
      },
      { ...storeHandlers(gateway), ...queryHandlers(gateway), ...commitmentHandlers(gateway) },
    );
    const timetable = startTimetable(gateway);
    const address = server.address();
    log.info('ready', {
      http: typeof address === 'object' && address !== null ? address.port : undefined,
      dimse: scp.port,
      aeTitle: dimse.aeTitle,
    });
    const signal = await untilSignal();
    log.info('closing', { signal });
    await timetable.stop();
    return 0;
  } finally {
    await announceClosing(app);
    await scp?.close();
    if (server !== undefined) await closeServer(server);
    await closeGateway(gateway);
  }
}

/** No request begins any more; those that run have ten seconds. */
function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
    setTimeout(() => server.closeAllConnections(), 10_000).unref();
  });
}

function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve('SIGTERM'));
    process.once('SIGINT', () => resolve('SIGINT'));
  });
}

async function deidentifyFolder(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      profile: { type: 'string' },
      project: { type: 'string', default: 'files' },
      recipient: { type: 'string' },
      threads: { type: 'string' },
      'dry-run': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const [from, to] = positionals;
  const { profile, project, recipient, threads } = values;
  const dryRun = values['dry-run'];
  const wrong =
    from === undefined ||
    profile === undefined ||
    (to === undefined && !dryRun) ||
    (values.json && !dryRun) ||
    (threads !== undefined && !/^[1-9]\d?$/.test(threads));
  if (wrong) {
    process.stderr.write(USAGE);
    return 2;
  }
  return await deidentifyFiles({
    files: await filesOf(from),
    profile,
    project,
    recipient,
    to: dryRun ? undefined : to,
    threads: threads === undefined ? undefined : Number(threads),
    json: values.json,
  });
}

async function importCtpScript(args: string[]): Promise<number> {
  const { positionals } = parseArgs({ args, allowPositionals: true, options: {} });
  const [name] = positionals;
  if (name === undefined || positionals.length > 1) {
    process.stderr.write(USAGE);
    return 2;
  }
  const devices = readCtpScript(await readFile(name, 'utf8'));
  // Says here, not at the next start, what names no attribute.
  compileDevices({ devices });
  process.stdout.write(formatYaml({ devices }));
  process.stderr.write(`${devices.length} device rules\n`);
  return 0;
}

async function runPipeline(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      input: { type: 'string' },
      fixed: { type: 'string' },
      output: { type: 'string' },
      transform: { type: 'string' },
    },
  });
  const [pipeline] = positionals;
  const { input, fixed, output } = values;
  const transform = TRANSFORMS.find((one) => one === values.transform);
  const known =
    pipeline !== undefined &&
    (pipeline === 'register') === (fixed !== undefined) &&
    (values.transform === undefined || (pipeline === 'register' && transform !== undefined));
  if (!known || input === undefined || output === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  const config = readConfig();
  if (!config.runnable.has(pipeline)) {
    process.stderr.write(`there is no pipeline ${pipeline} (there are: ${[...config.runnable.keys()].join(', ')})\n`);
    return 2;
  }
  const pool = await openPool({
    threads: config.pipelines.threads,
    maxMemoryMb: config.pipelines.maxMemoryMb,
    modelsFolder: config.modelsFolder,
    siteModelsFolder: config.siteModelsFolder,
    provider: config.pipelines.provider,
  });
  const codecs = openCodecs();
  try {
    const { produceByManifest, produceDenoised, produceRefused, produceRegistration } =
      await import('./workflow/produce.ts');
    const options = {
      timeoutMs: config.pipelines.timeoutMs,
      onProgress: (step: string, share: number) => process.stderr.write(`${Math.round(share * 100)} % ${step}\n`),
    };
    const instances = await loadFolder(input, codecs);
    const onto = fixed === undefined ? undefined : await loadFolder(fixed, codecs);
    let refusal: Refusal | undefined;
    const run = async (): Promise<Produced> => {
      if (onto !== undefined) {
        const series = { moving: await loadedFrom(instances), fixed: await loadedFrom(onto) };
        return produceRegistration(
          pool,
          { ...series, settings: transform === undefined ? {} : { transform } },
          options,
        );
      }
      if (pipeline === 'ct-denoise')
        return produceDenoised(pool, { source: await loadedFrom(instances), settings: {} }, options);
      return produceByManifest(pool, { id: pipeline, instances, settings: {} }, options);
    };
    const produced = await run().catch((error: unknown) => {
      if (!(error instanceof Refusal) || error.reason !== 'PipelineRefused') throw error;
      refusal = error;
      return produceRefused(pool, {
        pipeline,
        source: instances.map(({ head }) => head),
        fixed: onto?.map(({ head }) => head),
        settings: {},
        refusal: error,
      });
    });
    await mkdir(output, { recursive: true });
    let objects = 0;
    for (const object of produced.objects) {
      await writeFile(join(output, `${object.sopInstanceUID}.dcm`), [object.head, object.body]);
      objects++;
    }
    process.stdout.write(
      `${JSON.stringify({ pipeline, objects, verdict: produced.verdict, quality: produced.quality }, null, 2)}\n`,
    );
    if (refusal !== undefined) throw refusal;
    return 0;
  } finally {
    await closeCodecs(codecs);
    await closePool(pool);
  }
}

async function verifyAll(): Promise<number> {
  const gateway = await openGateway(readConfig(), openLog('silent'));
  try {
    const report = await verify(gateway.archive);
    const broken = firstBrokenRow(gateway.audit);
    process.stdout.write(
      `${JSON.stringify({ archive: report, audit: broken === undefined ? 'whole' : `broken at row ${broken}` }, null, 2)}\n`,
    );
    return report.damaged.length === 0 && broken === undefined ? 0 : 1;
  } finally {
    await closeGateway(gateway);
  }
}

async function reindexAll(): Promise<number> {
  const { dataFolder } = readConfig();
  const lock = lockDataFolder(dataFolder);
  const database = openDatabase(join(dataFolder, 'isthmus.sqlite'));
  try {
    const report = await reindex(database, join(dataFolder, 'packs'));
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    return report.damaged.length === 0 ? 0 : 1;
  } finally {
    database.close();
    lock.release();
  }
}

async function filesOf(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true, recursive: true }).catch(() => {
    throw new Refusal('BadRequest', `${folder} is no folder that can be read`);
  });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/** The objects of a folder as one series; they are read as they are, identified or not. */
async function loadFolder(folder: string, codecs: CodecPool): Promise<SeriesInstance[]> {
  const series: SeriesInstance[] = [];
  for (const name of await filesOf(folder)) {
    const stream = createReadStream(name);
    const { head } = await receiveObject(stream);
    stream.destroy();
    if (asciiValue(head.dataSet, 0x00080016) === undefined) continue;
    // What is compressed stays in memory; the rest is read again when it is asked for, one file at a time.
    if (isDecoded(head)) {
      series.push(decodedInstance(codecs, head, framesIn(head, await pixelsIn(name))));
      continue;
    }
    const swapped = head.dataSet.encoding === 'explicit-be' && head.pixelData?.vr === 'OW';
    series.push({
      head,
      pixels: async () => (swapped ? swapWords(await pixelsIn(name), 2) : pixelsIn(name)),
    });
  }
  return series;
}

async function pixelsIn(name: string): Promise<Buffer> {
  const { body } = await readObject(await readFile(name));
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
}

function framesIn(head: Head, pixels: Buffer): FrameSource[] {
  const scan = scanFragments();
  scan.take(pixels);
  const extents = encapsulatedExtents(pixelLayout(head.dataSet, head.transferSyntaxUID), scan);
  const frames = extents.kind === 'encapsulated' ? extents.frames : [];
  return frames.map(
    (parts) => () => Promise.resolve(Buffer.concat(parts.map(({ start, end }) => pixels.subarray(start, end)))),
  );
}
