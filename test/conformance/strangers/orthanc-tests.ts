/**
 * The DICOMweb tests of Orthanc's own authors (github.com/orthanc-mirrors/orthanc-tests, GPL-3: run from a checkout of yours, never copied):
 *   ORTHANC_TESTS=/path/to/orthanc-tests npm run conformance -- orthanc-tests
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { runProgramme } from './hospital.ts';
import { openAdapter } from './orthanc-adapter.ts';
import type { Suite } from './suite.ts';

const checkout = process.env['ORTHANC_TESTS'] ?? '';
const RUN = join(checkout, 'Plugins', 'DicomWeb', 'Run.py');

/** Not about an origin server: they test how Orthanc manages and drives other servers. */
const OF_THE_CLIENT = ['test_add_server', 'test_server_get', 'test_server_retrieve', 'test_server_stow'];

/** Where its server and we differ on purpose: what its report then holds, so that any other fault of the test is one of ours, and why. */
const WHITELIST: Readonly<Record<string, { readonly at: RegExp; readonly why: string }>> = {
  test_accept_negotiation: {
    at: /200 != 400/,
    why: 'multipart/related without type is taken as the one multipart form there is (8.7.5), not refused',
  },
  test_bitbucket_issue_168: {
    at: /includefield=00091001/,
    why: 'a private attribute without its creator is refused with 400: which one is meant is not known (8.3.4.1)',
  },
  test_compare_wado_uri_and_rs: {
    at: /bbox/,
    why: 'grey values are rounded, not cut off: one of 255 apart',
  },
  test_encodings_qido: {
    at: /3 != 2/,
    why: 'a name has only the component groups that are not empty (F.2.2); it wants an empty Phonetic',
  },
  test_encodings_wado_metadata: {
    at: /ISO_IR 192/,
    why: 'JSON is UTF-8 whatever is stored, and says so (F.2): ISO_IR 192',
  },
  test_frames_transcoding: {
    at: /Not a multipart message/,
    why: 'frames in Implicit VR LE never leave the server (8.7.3); MD5s of its own lossy encoder',
  },
  test_issue_195: {
    at: /KeyError: 'BulkDataURI'/,
    why: 'two bytes of UN go inline, not by BulkDataURI; either is legal (F.2.7)',
  },
  test_multiframe_windowing: {
    at: /GetLinearExact/,
    why: 'LINEAR_EXACT without the half that PS3.3 C.11.2.1.3.2 adds since its correction',
  },
  test_od_of_ol_array: {
    at: /'BulkDataURI' in of/,
    why: 'short OD, OF and OL go inline, not by BulkDataURI; either is legal (F.2.7)',
  },
  test_qido_fields: {
    at: /'00280010' in a/,
    why: 'attributes of a lower level are never part of a study (10.6.3.3); it wants Rows',
  },
  test_qido_parent_attributes: {
    at: /KeyError: '00100010'/,
    why: 'a reading of 2019a: study attributes where the study is in the path, none at /series?StudyInstanceUID= (2024e 10.6.3.3.2)',
  },
  test_rendered_studies_series: {
    at: /len\(a\), len\(b\)/,
    why: 'a rendered study or series is all of its instances, multipart (10.4.1.1.3), not a single picture',
  },
  test_stow: {
    at: /3 != 2|endswith/,
    why: 'the door de-identifies: UIDs in RetrieveURL and sizes are not those of the file sent',
  },
  test_stow_errors: {
    at: /409 != 400/,
    why: 'a study that is no UID is 400, before any instance is looked at',
  },
  test_wado_hierarchy: {
    at: /'str' and 'str'/,
    why: 'its own JSON to the letter: DS as strings (numbers here, F.2.3 allows either), the stored character set',
  },
  test_wado_hierarchy_bulk: {
    at: /bulkdata\/60031010\/0/,
    why: 'its own BulkDataURI scheme, items counted from 1',
  },
  test_wado_transcoding: {
    at: /1\.2\.840\.10008\.1\.2\.4\.50/,
    why: 'what there is only with loss goes out as it is, labelled so (8.7.3.4)',
  },
};

export const orthancTestsSuite: Suite = {
  name: 'orthanc-tests',
  proves: "the PS3.18 cases of Orthanc's own DICOMweb test suite",
  missing(tools) {
    if (checkout === '')
      return 'ORTHANC_TESTS does not name a checkout of github.com/orthanc-mirrors/orthanc-tests (GPL-3, not ours to ship)';
    if (!existsSync(RUN)) return `ORTHANC_TESTS names a folder without Plugins/DicomWeb/Run.py`;
    const found = tools.python();
    return 'missing' in found ? found.missing : undefined;
  },
  async run(scene) {
    const found = scene.tools.python();
    if ('missing' in found) return;
    const adapter = await openAdapter(scene.folder);
    scene.after(() => adapter.close());
    const options = ['--force', '--server', '127.0.0.1', '--rest', String(adapter.port)];
    const { output } = await runProgramme(found.python, [RUN, ...options, '--', '-v'], { timeoutMs: 600_000 });
    const faults = faultsOf(output);
    let ran = 0;
    for (const [, name = '', verdict] of output.matchAll(
      /^(test_\w+) \([^)]*\)[\s\S]*? \.\.\. [\s\S]*?(ok|FAIL|ERROR|skipped)/gm,
    )) {
      ran++;
      const fault = faults.get(name) ?? '';
      if (OF_THE_CLIENT.includes(name)) scene.notRun(name, "about Orthanc's client, not about an origin server");
      else if (fault.includes('FileNotFoundError')) scene.notRun(name, 'a file of the suite is not in the checkout');
      else if (verdict === 'ok')
        scene.verdict(WHITELIST[name] === undefined ? name : `${name} (stands on the whitelist without need)`);
      else if (WHITELIST[name]?.at.test(fault) === true) scene.differs(name, WHITELIST[name].why);
      else scene.verdict(name, fault);
    }
    if (ran === 0) scene.verdict('the suite starts', output);
  },
};

/** Test -> what its report says. */
function faultsOf(output: string): Map<string, string> {
  const reports = output.split(/^={70}$/m).slice(1);
  return new Map(reports.map((report) => [/^(?:FAIL|ERROR): (\w+)/m.exec(report)?.[1] ?? '', report.trim()]));
}
