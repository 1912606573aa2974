/** The DICOM Upper Layer state machine as data: PS3.8 2024b, 9.2.1 to 9.2.3, Tables 9-1 to 9-10. */

export const STATES = {
  Sta1: 'Idle',
  Sta2: 'Transport connection open, awaiting A-ASSOCIATE-RQ PDU',
  Sta3: 'Awaiting local A-ASSOCIATE response primitive',
  Sta4: 'Awaiting transport connection opening to complete',
  Sta5: 'Awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ PDU',
  Sta6: 'Association established and ready for data transfer',
  Sta7: 'Awaiting A-RELEASE-RP PDU',
  Sta8: 'Awaiting local A-RELEASE response primitive',
  Sta9: 'Release collision requestor side, awaiting local A-RELEASE response primitive',
  Sta10: 'Release collision acceptor side, awaiting A-RELEASE-RP PDU',
  Sta11: 'Release collision requestor side, awaiting A-RELEASE-RP PDU',
  Sta12: 'Release collision acceptor side, awaiting local A-RELEASE response primitive',
  Sta13: 'Awaiting transport connection close indication',
} as const;
export type State = keyof typeof STATES;

export const EVENTS = {
  Evt1: 'A-ASSOCIATE request primitive',
  Evt2: 'Transport connection confirmation',
  Evt3: 'A-ASSOCIATE-AC PDU received',
  Evt4: 'A-ASSOCIATE-RJ PDU received',
  Evt5: 'Transport connection indication',
  Evt6: 'A-ASSOCIATE-RQ PDU received',
  Evt7: 'A-ASSOCIATE response primitive (accept)',
  Evt8: 'A-ASSOCIATE response primitive (reject)',
  Evt9: 'P-DATA request primitive',
  Evt10: 'P-DATA-TF PDU received',
  Evt11: 'A-RELEASE request primitive',
  Evt12: 'A-RELEASE-RQ PDU received',
  Evt13: 'A-RELEASE-RP PDU received',
  Evt14: 'A-RELEASE response primitive',
  Evt15: 'A-ABORT request primitive',
  Evt16: 'A-ABORT PDU received',
  Evt17: 'Transport connection closed indication',
  Evt18: 'ARTIM timer expired',
  Evt19: 'Unrecognized or invalid PDU received',
} as const;
export type StateEvent = keyof typeof EVENTS;

/** What an action does, in the order in which the standard names it; `association.ts` knows how. */
export type Effect =
  | 'open transport connection'
  | 'close transport connection'
  | 'send A-ASSOCIATE-RQ'
  | 'send A-ASSOCIATE-AC'
  | 'send A-ASSOCIATE-RJ'
  | 'send P-DATA-TF'
  | 'send A-RELEASE-RQ'
  | 'send A-RELEASE-RP'
  | 'send A-ABORT (service user)'
  | 'send A-ABORT (service provider)'
  | 'indicate A-ASSOCIATE'
  | 'confirm A-ASSOCIATE (accept)'
  | 'confirm A-ASSOCIATE (reject)'
  | 'indicate P-DATA'
  | 'indicate A-RELEASE'
  | 'confirm A-RELEASE'
  | 'indicate A-ABORT'
  | 'indicate A-P-ABORT'
  | 'start ARTIM'
  | 'stop ARTIM';

export interface Step {
  readonly effects: readonly Effect[];
  readonly next: State;
}

/** Two actions depend on something outside the table: whether the provider can take the request, and who asked for the association. */
export interface Choice {
  readonly when: 'request is acceptable' | 'this side requested the association';
  readonly yes: Step;
  readonly no: Step;
}

/** Tables 9-6 to 9-9. */
export const ACTIONS = {
  'AE-1': { effects: ['open transport connection'], next: 'Sta4' },
  'AE-2': { effects: ['send A-ASSOCIATE-RQ'], next: 'Sta5' },
  'AE-3': { effects: ['confirm A-ASSOCIATE (accept)'], next: 'Sta6' },
  'AE-4': { effects: ['confirm A-ASSOCIATE (reject)', 'close transport connection'], next: 'Sta1' },
  'AE-5': { effects: ['start ARTIM'], next: 'Sta2' },
  'AE-6': {
    when: 'request is acceptable',
    yes: { effects: ['stop ARTIM', 'indicate A-ASSOCIATE'], next: 'Sta3' },
    no: { effects: ['stop ARTIM', 'send A-ASSOCIATE-RJ', 'start ARTIM'], next: 'Sta13' },
  },
  'AE-7': { effects: ['send A-ASSOCIATE-AC'], next: 'Sta6' },
  'AE-8': { effects: ['send A-ASSOCIATE-RJ', 'start ARTIM'], next: 'Sta13' },
  'DT-1': { effects: ['send P-DATA-TF'], next: 'Sta6' },
  'DT-2': { effects: ['indicate P-DATA'], next: 'Sta6' },
  'AR-1': { effects: ['send A-RELEASE-RQ'], next: 'Sta7' },
  'AR-2': { effects: ['indicate A-RELEASE'], next: 'Sta8' },
  'AR-3': { effects: ['confirm A-RELEASE', 'close transport connection'], next: 'Sta1' },
  'AR-4': { effects: ['send A-RELEASE-RP', 'start ARTIM'], next: 'Sta13' },
  'AR-5': { effects: ['stop ARTIM'], next: 'Sta1' },
  'AR-6': { effects: ['indicate P-DATA'], next: 'Sta7' },
  'AR-7': { effects: ['send P-DATA-TF'], next: 'Sta8' },
  'AR-8': {
    when: 'this side requested the association',
    yes: { effects: ['indicate A-RELEASE'], next: 'Sta9' },
    no: { effects: ['indicate A-RELEASE'], next: 'Sta10' },
  },
  'AR-9': { effects: ['send A-RELEASE-RP'], next: 'Sta11' },
  'AR-10': { effects: ['confirm A-RELEASE'], next: 'Sta12' },
  'AA-1': { effects: ['send A-ABORT (service user)', 'start ARTIM'], next: 'Sta13' },
  'AA-2': { effects: ['stop ARTIM', 'close transport connection'], next: 'Sta1' },
  'AA-3': { effects: ['indicate A-ABORT', 'close transport connection'], next: 'Sta1' },
  'AA-4': { effects: ['indicate A-P-ABORT'], next: 'Sta1' },
  'AA-5': { effects: ['stop ARTIM'], next: 'Sta1' },
  'AA-6': { effects: [], next: 'Sta13' },
  'AA-7': { effects: ['send A-ABORT (service provider)'], next: 'Sta13' },
  'AA-8': { effects: ['send A-ABORT (service provider)', 'indicate A-P-ABORT', 'start ARTIM'], next: 'Sta13' },
} as const satisfies Record<string, Step | Choice>;
export type Action = keyof typeof ACTIONS;

type Row = readonly (Action | null)[];
const _ = null;

/** Table 9-10: one row an event, columns Sta1 to Sta13; null where the standard leaves the cell empty (cannot happen). */
const ROWS: Record<StateEvent, Row> = {
  Evt1: ['AE-1', _, _, _, _, _, _, _, _, _, _, _, _],
  Evt2: [_, _, _, 'AE-2', _, _, _, _, _, _, _, _, _],
  Evt3: [_, 'AA-1', 'AA-8', _, 'AE-3', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-6'],
  Evt4: [_, 'AA-1', 'AA-8', _, 'AE-4', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-6'],
  Evt5: ['AE-5', _, _, _, _, _, _, _, _, _, _, _, _],
  Evt6: [_, 'AE-6', 'AA-8', _, 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-7'],
  Evt7: [_, _, 'AE-7', _, _, _, _, _, _, _, _, _, _],
  Evt8: [_, _, 'AE-8', _, _, _, _, _, _, _, _, _, _],
  Evt9: [_, _, _, _, _, 'DT-1', _, 'AR-7', _, _, _, _, _],
  Evt10: [_, 'AA-1', 'AA-8', _, 'AA-8', 'DT-2', 'AR-6', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-6'],
  Evt11: [_, _, _, _, _, 'AR-1', _, _, _, _, _, _, _],
  Evt12: [_, 'AA-1', 'AA-8', _, 'AA-8', 'AR-2', 'AR-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-6'],
  Evt13: [_, 'AA-1', 'AA-8', _, 'AA-8', 'AA-8', 'AR-3', 'AA-8', 'AA-8', 'AR-10', 'AR-3', 'AA-8', 'AA-6'],
  Evt14: [_, _, _, _, _, _, _, 'AR-4', 'AR-9', _, _, 'AR-4', _],
  Evt15: [_, _, 'AA-1', 'AA-2', 'AA-1', 'AA-1', 'AA-1', 'AA-1', 'AA-1', 'AA-1', 'AA-1', 'AA-1', _],
  Evt16: [_, 'AA-2', 'AA-3', _, 'AA-3', 'AA-3', 'AA-3', 'AA-3', 'AA-3', 'AA-3', 'AA-3', 'AA-3', 'AA-2'],
  Evt17: [_, 'AA-5', 'AA-4', 'AA-4', 'AA-4', 'AA-4', 'AA-4', 'AA-4', 'AA-4', 'AA-4', 'AA-4', 'AA-4', 'AR-5'],
  Evt18: [_, 'AA-2', _, _, _, _, _, _, _, _, _, _, 'AA-2'],
  Evt19: [_, 'AA-1', 'AA-8', _, 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-8', 'AA-7'],
};

/** The cell of Table 9-10, or undefined where it is empty. */
export function actionFor(state: State, event: StateEvent): Action | undefined {
  return ROWS[event][Number(state.slice(3)) - 1] ?? undefined;
}
