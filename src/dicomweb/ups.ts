/** UPS-RS (PS3.18 11.4 to 11.8): work items created, read, changed, claimed, ended, and asked to be canceled. */
import { requireRole } from '../access.ts';
import { tagKey } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import { formatDicomJsonObject, type DicomJson } from '../dicom/json.ts';
import { Refusal } from '../dicom/refusal.ts';
import { newUid } from '../dicom/uid.ts';
import { stepNamed, STEP_WARNINGS } from '../workitems/steps.ts';
import { cancelWorkitem, changeWorkitemState, createWorkitem, updateWorkitem } from '../workflow/worklist.ts';
import { DICOM_JSON, DICOM_XML, negotiate, uidParameter, warn, type Exchange } from './exchange.ts';
import { sendDataSets } from './ups-search.ts';
import { readDataSet, refuseParameters, uidInQuery } from './ups-payload.ts';

const SOP_INSTANCE_UID = tagKey(tag('SOPInstanceUID'));
const SOP_CLASS_UID = tagKey(tag('SOPClassUID'));
const TRANSACTION_UID = tagKey(tag('TransactionUID'));
const STATE = tagKey(tag('ProcedureStepState'));

/** `POST /workitems[?{workitem}]`; without a UID in the query the one in the data set counts, without any a new one is made. */
export async function createWorkitemResource(exchange: Exchange): Promise<void> {
  const { gateway, caller, response, baseUrl } = exchange;
  const named = uidInQuery(exchange, ['workitem', 'affectedsopinstanceuid']);
  const { [SOP_INSTANCE_UID]: given, ...object } = await requiredDataSet(exchange);
  const uid = textOf(given);
  if (named !== undefined && uid !== undefined && uid !== named)
    throw new Refusal('BadRequest', 'SOPInstanceUID is another one than that of the query');
  const target = named ?? uid ?? newUid();
  const { modified } = createWorkitem(gateway, target, withoutClass(object), caller.name);
  if (modified) warn(exchange, STEP_WARNINGS.created);
  response.setHeader('Location', `${baseUrl}/workitems/${target}`);
  response.statusCode = 201;
  response.end();
}

/** Never with its Transaction UID, which is the lock of who claimed it. */
export async function retrieveWorkitem(exchange: Exchange): Promise<void> {
  const { offer } = negotiate(exchange, [DICOM_JSON, DICOM_XML]);
  const { object, uid } = stepNamed(exchange.gateway.workItems, uidParameter(exchange, 'workitem'));
  exchange.response.setHeader('Cache-Control', 'no-cache');
  await sendDataSets(exchange, offer, [{ uid, text: formatDicomJsonObject(object) }]);
}

/** `POST /workitems/{workitem}[?{transaction-uid}]`; the Transaction UID may stand in the data set instead. */
export async function updateWorkitemResource(exchange: Exchange): Promise<void> {
  const { gateway } = exchange;
  const workitem = uidParameter(exchange, 'workitem');
  const named = uidInQuery(exchange, ['transaction-uid', 'transactionuid', 'transaction', TRANSACTION_UID]);
  const { [TRANSACTION_UID]: locked, [SOP_INSTANCE_UID]: instance, ...object } = await requiredDataSet(exchange);
  const inBody = textOf(locked);
  if (instance !== undefined && textOf(instance) !== workitem)
    throw new Refusal('BadRequest', 'SOPInstanceUID is another one than that of the path');
  if (named !== undefined && inBody !== undefined && named !== inBody)
    throw new Refusal('BadRequest', 'TransactionUID is another one than that of the query');
  const accepted = updateWorkitem(gateway, workitem, withoutClass(object), named ?? inBody);
  if (accepted.modified) warn(exchange, STEP_WARNINGS.updated);
  if (accepted.passedOver) warn(exchange, STEP_WARNINGS.optional);
  done(exchange, 200);
}

/** `PUT /workitems/{workitem}/state` */
export async function changeState(exchange: Exchange): Promise<void> {
  const { gateway, caller } = exchange;
  const workitem = uidParameter(exchange, 'workitem');
  const object = await requiredDataSet(exchange);
  const state = textOf(object[STATE]);
  const transactionUID = textOf(object[TRANSACTION_UID]);
  if (changeWorkitemState(gateway, workitem, { state, transactionUID }, caller.name) === 'already')
    warn(exchange, state === 'COMPLETED' ? STEP_WARNINGS.alreadyCompleted : STEP_WARNINGS.alreadyCanceled);
  done(exchange, 200);
}

/** `POST /workitems/{workitem}/cancelrequest`; who ends the gateway's own work has to be responsible for it. */
export async function requestCancellation(exchange: Exchange): Promise<void> {
  const { gateway, caller } = exchange;
  refuseParameters(exchange);
  const workitem = uidParameter(exchange, 'workitem');
  const request = (await readDataSet(exchange)) ?? {};
  if (stepNamed(gateway.workItems, workitem).work !== undefined) requireRole(caller, 'radiology-it');
  cancelWorkitem(gateway, workitem, request, caller.name);
  done(exchange, 202);
}

async function requiredDataSet(exchange: Exchange): Promise<DicomJson> {
  const object = await readDataSet(exchange);
  if (object === undefined) throw new Refusal('BadRequest', 'the body is empty; a data set is needed');
  return object;
}

/** The class is that of all work items, whatever a client says of it. */
function withoutClass({ [SOP_CLASS_UID]: _class, ...object }: DicomJson): DicomJson {
  return object;
}

function textOf(element: DicomJson[string] | undefined): string | undefined {
  const value: unknown = element !== undefined && 'Value' in element ? element.Value?.[0] : undefined;
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function done({ response }: Exchange, status: number): void {
  response.statusCode = status;
  response.end();
}
