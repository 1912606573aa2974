// Installs what the project needs before anything else runs, on whatever Node npm was started with: plain JavaScript, no dependency.
//   node test/setup/install.mjs                packages for tests, and on Debian as root the tests' peers (dcmtk, Orthanc ...)
//   node test/setup/install.mjs --conformance  the same, and what strangers' suites need besides
//   node test/setup/install.mjs --production   only what `npm start` and `npm run demo` need
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const production = process.argv.includes('--production');
const PEERS = [
  'dcmtk',
  'orthanc',
  'orthanc-dicomweb',
  'dicom3tools',
  'python3-pydicom',
  'python3-numpy',
  'python3-pil',
  'tesseract-ocr',
  'openssl',
  // A browser and a Python of their own: for `npm run conformance` alone.
  ...(process.argv.includes('--conformance') ? ['chromium', 'python3-venv'] : []),
];

installPackages();
if (!production) installPeers();

function installPackages() {
  const stamp = join(root, 'node_modules', '.isthmus-installed');
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  const installed = existsSync(stamp) ? readFileSync(stamp, 'utf8') : '';
  if (installed === `${lock} all` || (production && installed === `${lock} production`)) return;
  console.log('installing packages (once) ...');
  // No stranger's install script runs, but for `node`: it brings the pinned Node 24 (see ARCHITECTURE.md).
  npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', ...(production ? ['--omit=dev'] : [])]);
  npm(['rebuild', 'node', '--loglevel=error']);
  writeFileSync(stamp, `${lock} ${production ? 'production' : 'all'}`);
}

function npm(args) {
  const result = spawnSync('npm', args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' },
    shell: process.platform === 'win32',
  });
  if (result.status !== 0) {
    console.error(`npm ${args.join(' ')} failed; the packages are not complete`);
    process.exit(1);
  }
}

function installPeers() {
  if (!existsSync('/usr/bin/dpkg-query') || process.getuid?.() !== 0) return;
  const missing = PEERS.filter((name) => {
    const query = spawnSync('dpkg-query', ['-W', '-f', '${Status}', name], { encoding: 'utf8' });
    return !query.stdout.includes('install ok installed');
  });
  if (missing.length === 0) return;
  console.log(`installing test peers: ${missing.join(' ')} ...`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const options = { stdio: 'ignore', env, timeout: 600_000 };
  // A failure is not hidden: the test run names every check that a missing peer kept from running.
  spawnSync('apt-get', ['update'], options);
  const all = spawnSync('apt-get', ['install', '-y', '--no-install-recommends', ...missing], options);
  if (all.status !== 0)
    for (const name of missing) spawnSync('apt-get', ['install', '-y', '--no-install-recommends', name], options);
}
