/** Reports on a study, as JSON or as text for people: its verification, and why rules did what they did. */
import type { Request } from 'express';
import { studiesOf, totalsOf } from '../archive/studies.ts';
import { Refusal } from '../dicom/refusal.ts';
import { isUid } from '../dicom/uid.ts';
import type { Gateway } from '../gateway.ts';
import { explainStudy, formatExplanation } from '../workflow/explain.ts';
import { intakeOfStudy } from '../workflow/intake.ts';
import { formatVerification, shownTo, verifyStudy } from '../workflow/verification.ts';
import { releaseStudy, withheldBecause } from '../workflow/withhold.ts';
import { Page, parameter, queryOf, Shown, stretchOf, type AddRoute } from './routes.ts';

export function addReportRoutes(add: AddRoute, gateway: Gateway): void {
  add('get', '/studies', ['radiology-it', 'privacy-officer'], (request) => {
    const studies = studiesOf(gateway.archive, stretchOf(queryOf(request))).map(({ key: _key, ...study }) => ({
      ...study,
      withheldBecause: withheldBecause(gateway, study.studyInstanceUID),
    }));
    return new Page(studies, totalsOf(gateway.archive).studies);
  });
  add('get', '/studies/:study/verification', ['radiology-it', 'privacy-officer'], async (request, caller) => {
    const study = studyOf(request);
    const asText = wantsText(queryOf(request).get('format'), request.headers.accept ?? '');
    const report = shownTo(await verifyStudy(gateway, study), { mayReadText: caller.roles.has('privacy-officer') });
    return asText ? new Shown('text/plain; charset=utf-8', formatVerification(report)) : report;
  });
  add('get', '/studies/:study/pairs', ['radiology-it', 'privacy-officer'], (request) => {
    const explanation = explainStudy(gateway, studyOf(request));
    const asText = wantsText(queryOf(request).get('format'), request.headers.accept ?? '');
    return asText ? new Shown('text/plain; charset=utf-8', formatExplanation(explanation)) : explanation;
  });
  add('get', '/studies/:study/intake', ['radiology-it', 'privacy-officer'], (request) =>
    intakeOfStudy(gateway, studyOf(request)),
  );
  add('post', '/studies/:study/release', ['privacy-officer'], (request, caller) =>
    releaseStudy(gateway, studyOf(request), caller.name),
  );
}

/** @throws Refusal BadRequest */
function studyOf(request: Request): string {
  const study = parameter(request, 'study');
  if (!isUid(study)) throw new Refusal('BadRequest', 'the study in the path is no UID');
  return study;
}

/** `format` decides; without it text where the request asks for text and not for JSON. */
function wantsText(format: string | null, accept: string): boolean {
  if (format !== null && format !== 'text' && format !== 'json')
    throw new Refusal('BadRequest', 'format must be json or text');
  if (format !== null) return format === 'text';
  return /\btext\/plain\b/i.test(accept) && !/\bjson\b/i.test(accept);
}
