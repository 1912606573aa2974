/** Debian's Orthanc with its DICOMweb plugin as the hospital's PACS, on loopback only where a compiler is at hand to confine it. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, until } from './ports.ts';

const PLUGIN = '/usr/share/orthanc/plugins/libOrthancDicomWeb.so';
const here = dirname(fileURLToPath(import.meta.url));

/** Why Orthanc cannot be used here, or undefined when it can. */
export function orthancMissing(): string | undefined {
  if (!existsSync('/usr/sbin/Orthanc')) return 'Orthanc is not installed (Debian package orthanc)';
  if (!existsSync(PLUGIN)) return "Orthanc's DICOMweb plugin is not installed (Debian package orthanc-dicomweb)";
  return undefined;
}

export interface Orthanc {
  readonly pid: number;
  /** REST API; DICOMweb is below /dicom-web. */
  readonly base: string;
  readonly dicomPort: number;
  stop(): Promise<void>;
}

export interface OrthancOptions {
  /** Of C-STORE out of Orthanc, by name. */
  readonly modalities?: Readonly<Record<string, { aet: string; port: number }>>;
  /** DICOMweb servers that Orthanc can STOW to, by name. */
  readonly servers?: Readonly<Record<string, string>>;
  /** TCP_NODELAY on its connections, which it has no setting for (needs a C compiler). */
  readonly nodelay?: boolean;
}

export async function startOrthanc(folder: string, options: OrthancOptions = {}): Promise<Orthanc> {
  mkdirSync(folder, { recursive: true });
  const httpPort = await freePort();
  const dicomPort = await freePort();
  const configuration = {
    Name: 'hospital',
    StorageDirectory: join(folder, 'db'),
    IndexDirectory: join(folder, 'db'),
    Plugins: [PLUGIN],
    HttpPort: httpPort,
    RemoteAccessAllowed: false,
    AuthenticationEnabled: false,
    DicomAet: 'ORTHANC',
    DicomPort: dicomPort,
    DicomCheckCalledAet: false,
    DicomAlwaysAllowStore: true,
    DicomAlwaysAllowEcho: true,
    KeepAlive: true,
    TcpNoDelay: true,
    DicomModalities: Object.fromEntries(
      Object.entries(options.modalities ?? {}).map(([name, { aet, port }]) => [name, [aet, '127.0.0.1', port]]),
    ),
    DicomWeb: {
      Enable: true,
      Root: '/dicom-web/',
      Ssl: false,
      Servers: Object.fromEntries(Object.entries(options.servers ?? {}).map(([name, url]) => [name, [url]])),
    },
  };
  writeFileSync(join(folder, 'orthanc.json'), JSON.stringify(configuration));
  const log = openSync(join(folder, 'log'), 'a');
  const shims = [
    compileShim(folder, 'loopback-bind'),
    options.nodelay === true ? compileShim(folder, 'nodelay') : undefined,
  ];
  const preload = shims.filter((shim) => shim !== undefined).join(':');
  const child = spawn('/usr/sbin/Orthanc', [join(folder, 'orthanc.json')], {
    stdio: ['ignore', log, log],
    env: { ...process.env, ...(preload === '' ? {} : { LD_PRELOAD: preload }) },
  });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const base = `http://127.0.0.1:${httpPort}`;
  await until(
    'Orthanc to be ready',
    async () => {
      if (child.exitCode !== null) throw new Error(`Orthanc ended with ${child.exitCode}`);
      return (await fetch(`${base}/system`).catch(() => undefined))?.status === 200;
    },
    60_000,
  );
  return {
    pid: child.pid ?? 0,
    base,
    dicomPort,
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 15_000);
      await ended;
      clearTimeout(timer);
    },
  };
}

/** Of the sources beside this file; undefined where there is no C compiler. */
export function compileShim(folder: string, name: 'loopback-bind' | 'nodelay'): string | undefined {
  const library = join(folder, `${name}.so`);
  const compiled = spawnSync('cc', ['-shared', '-fPIC', '-O2', '-o', library, join(here, `${name}.c`), '-ldl']);
  return compiled.status === 0 ? library : undefined;
}
