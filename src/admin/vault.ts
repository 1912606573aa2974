/** What a privacy officer does: looks behind pseudonyms with a second person, joins records, erases people. */
import type { Request } from 'express';
import { Refusal } from '../dicom/refusal.ts';
import type { Gateway } from '../gateway.ts';
import { mergeRecords, partRecords } from '../workflow/records.ts';
import { askDisclosure, decideDisclosure, discloseOriginals, listDisclosures } from '../workflow/disclose.ts';
import { fieldsOf, text, type AddRoute, type Fields } from './routes.ts';
import { beginErasure, continueErasures, listErasures, readErasure, type ErasureSubject } from '../workflow/erase.ts';

const OFFICER = ['privacy-officer'] as const;
const MOST_ROWS = 1000;

export function addVaultRoutes(
  add: AddRoute,
  gateway: Gateway,
  read: { readonly json: (request: Request) => Promise<unknown>; readonly id: (request: Request) => string },
): void {
  const fields = async (request: Request): Promise<Fields> => fieldsOf(await read.json(request), 'the body');
  // Whoever works with the studies may ask; whoever answers for privacy decides.
  add('post', '/disclosures', ['radiology-it', 'privacy-officer'], async (request, caller) => {
    const { project, subject, reason } = await fields(request);
    const question = {
      project: text(project, 'project'),
      subject: text(subject, 'subject'),
      reason: text(reason, 'reason'),
    };
    return askDisclosure(gateway, question, caller.name);
  });
  add('get', '/disclosures', OFFICER, () => listDisclosures(gateway, MOST_ROWS));
  for (const [verb, approve] of [['approve', true] as const, ['refuse', false] as const]) {
    add('post', `/disclosures/:id/${verb}`, OFFICER, (request, caller) =>
      decideDisclosure(gateway, read.id(request), approve, caller.name),
    );
  }
  // POST, since it leaves a line in the audit trail every time.
  add('post', '/disclosures/:id/read', ['radiology-it', 'privacy-officer'], (request, caller) =>
    discloseOriginals(gateway, read.id(request), caller.name),
  );
  add('post', '/patients/merge', OFFICER, async (request, caller) => {
    const { project, from, into } = await fields(request);
    return mergeRecords(gateway, text(project, 'project'), recordOf(from, 'from'), recordOf(into, 'into'), caller.name);
  });
  add('post', '/patients/part', OFFICER, async (request, caller) => {
    const { project, from } = await fields(request);
    return partRecords(gateway, text(project, 'project'), recordOf(from, 'from'), caller.name);
  });
  add('post', '/erasures', OFFICER, async (request, caller) => {
    const { reason, reference, ...subject } = await fields(request);
    const asked = { actor: caller.name, reason: text(reason, 'reason'), reference: text(reference, 'reference') };
    const id = beginErasure(gateway, subjectOf(subject), asked);
    await continueErasures(gateway);
    return readErasure(gateway, id);
  });
  add('get', '/erasures', OFFICER, () => listErasures(gateway));
  add('get', '/erasures/:id', OFFICER, (request) => readErasure(gateway, read.id(request)));
}

/** What is to be erased, from a body or a file. @throws Refusal BadRequest */
export function subjectOf({ project, pseudonym, record }: Fields): ErasureSubject {
  if (record !== undefined && pseudonym === undefined && project === undefined)
    return { record: recordOf(record, 'record') };
  if (record !== undefined)
    throw new Refusal(
      'BadRequest',
      'give either record, or project and pseudonym: a record is erased in every project',
    );
  return { project: text(project, 'project'), pseudonym: text(pseudonym, 'pseudonym') };
}

function recordOf(value: unknown, name: string): { issuer: string; id: string } {
  const { issuer, id } = fieldsOf(value, name);
  return {
    issuer: issuer === undefined ? '' : text(issuer, `${name}.issuer`, 0).trim(),
    id: text(id, `${name}.id`).trim(),
  };
}
