/** The Python package dicomweb-client (ImagingDataCommons) as driver: twenty calls, each with its contents asserted, in dicomweb_client_calls.py. */
import { fileURLToPath } from 'node:url';
import { openGatewayFor, runProgramme, sentStudy } from './hospital.ts';
import type { Suite } from './suite.ts';

const CALLS = fileURLToPath(new URL('./dicomweb_client_calls.py', import.meta.url));

export const pythonSuite: Suite = {
  name: 'python',
  proves: "the Python package dicomweb-client's twenty calls",
  missing(tools) {
    const found = tools.python();
    return 'missing' in found ? found.missing : undefined;
  },
  async run(scene) {
    const found = scene.tools.python();
    if ('missing' in found) return;
    const gateway = await openGatewayFor(scene);
    const { files } = sentStudy(scene, { slices: 6, size: 96 });
    const { status, output } = await runProgramme(found.python, [CALLS, `${gateway.base}/dicom-web`, ...files], {
      timeoutMs: 300_000,
      env: { NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1' },
    });
    let ended = false;
    for (const line of output.split('\n')) {
      const [kind, name, failure] = line.split('\t');
      if (kind === 'CALL' && name !== undefined) scene.verdict(name, failure?.replaceAll('\\n', '\n'));
      if (kind === 'END') ended = true;
    }
    if (status !== 0 || !ended) scene.verdict('the driver runs to its end', `it ended with ${status}:\n${output}`);
  },
};
