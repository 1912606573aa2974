/** The real gateway as a process of its own (`isthmus serve`), with a configuration folder made for the occasion. */
import { spawn, type ChildProcess } from 'node:child_process';
import { cpSync, createWriteStream, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort, until } from './ports.ts';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

export interface GatewaySetup {
  /** Holds config/, data/ and log; made when absent. Kept between starts, so that a restart finds its data. */
  readonly folder: string;
  /** Texts of the configuration files. */
  readonly gateway: string;
  readonly nodes: string;
  readonly rules: string;
  readonly httpPort?: string;
  readonly dimsePort?: string;
  /** Where its log goes: the terminal, or the file `log` of the folder. */
  readonly log: 'terminal' | 'file';
}

export interface GatewayProcess {
  readonly pid: number;
  readonly base: string;
  readonly httpPort: number;
  readonly dimsePort: number;
  readonly dataFolder: string;
  readonly logFile: string;
  readonly child: ChildProcess;
  /** SIGTERM, and waits for the end; answers the exit status. */
  stop(): Promise<number | null>;
  /** SIGKILL, and waits. */
  kill(): Promise<void>;
}

export async function startGateway(setup: GatewaySetup): Promise<GatewayProcess> {
  const config = join(setup.folder, 'config');
  const dataFolder = join(setup.folder, 'data');
  const logFile = join(setup.folder, 'log');
  mkdirSync(config, { recursive: true });
  cpSync(join(root, 'config', 'profiles'), join(config, 'profiles'), { recursive: true });
  writeFileSync(join(config, 'gateway.yaml'), setup.gateway);
  writeFileSync(join(config, 'nodes.yaml'), setup.nodes);
  writeFileSync(join(config, 'rules.yaml'), setup.rules);
  const httpPort = await freePort(setup.httpPort);
  const dimsePort = await freePort(setup.dimsePort);
  const child = spawn(process.execPath, [...started().flags, join(root, 'src', 'main.ts'), 'serve'], {
    cwd: root,
    stdio: setup.log === 'terminal' ? ['ignore', 'inherit', 'inherit'] : ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      ...started().variables,
      ISTHMUS_CONFIG: config,
      ISTHMUS_DATA: dataFolder,
      ISTHMUS_HOST: '127.0.0.1',
      ISTHMUS_HTTP_PORT: String(httpPort),
      ISTHMUS_DIMSE_PORT: String(dimsePort),
    },
  });
  if (setup.log === 'file') {
    const log = createWriteStream(logFile, { flags: 'a' });
    child.stdout?.pipe(log, { end: false });
    child.stderr?.pipe(log, { end: false });
  }
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)));
  const base = `http://127.0.0.1:${httpPort}`;
  await until(
    'the gateway to be ready',
    async () => {
      if (child.exitCode !== null) throw new Error(`the gateway ended with ${child.exitCode}; its log: ${logFile}`);
      return (await fetch(`${base}/readyz`).catch(() => undefined))?.status === 200;
    },
    READY_MS,
  ).catch((error: unknown) => {
    // Nobody else would end it, and the test would wait for it.
    child.kill('SIGKILL');
    throw error;
  });
  return {
    pid: child.pid ?? 0,
    base,
    httpPort,
    dimsePort,
    dataFolder,
    logFile,
    child,
    stop() {
      child.kill('SIGTERM');
      return ended;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** Seconds on an idle machine. */
const READY_MS = 240_000;

/** Node's own flags and the environment, as `npm start` gives them. */
function started(): { flags: string[]; variables: Record<string, string> } {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: { start: string } };
  const words = scripts.start.split(' ');
  const pairs = words.slice(0, words.indexOf('node')).map((word) => word.split('=', 2) as [string, string]);
  return { flags: words.filter((word) => word.startsWith('--')), variables: Object.fromEntries(pairs) };
}
