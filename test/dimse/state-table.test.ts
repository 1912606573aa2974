/** PS3.8 Table 9-10 walked cell by cell, against a second writing of it by action. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ACTIONS, EVENTS, STATES, actionFor } from '../../src/dimse/state-table.ts';
import type { Choice, State, StateEvent, Step } from '../../src/dimse/state-table.ts';

const states = Object.keys(STATES) as State[];
const events = Object.keys(EVENTS) as StateEvent[];

/** Event and states in which each action is taken, read off the descriptions of 9.2.3 rather than off the rows. */
const WHERE: Record<string, readonly [number, readonly number[]][]> = {
  'AE-1': [[1, [1]]],
  'AE-2': [[2, [4]]],
  'AE-3': [[3, [5]]],
  'AE-4': [[4, [5]]],
  'AE-5': [[5, [1]]],
  'AE-6': [[6, [2]]],
  'AE-7': [[7, [3]]],
  'AE-8': [[8, [3]]],
  'DT-1': [[9, [6]]],
  'DT-2': [[10, [6]]],
  'AR-1': [[11, [6]]],
  'AR-2': [[12, [6]]],
  'AR-3': [[13, [7, 11]]],
  'AR-4': [[14, [8, 12]]],
  'AR-5': [[17, [13]]],
  'AR-6': [[10, [7]]],
  'AR-7': [[9, [8]]],
  'AR-8': [[12, [7]]],
  'AR-9': [[14, [9]]],
  'AR-10': [[13, [10]]],
  'AA-1': [
    [3, [2]],
    [4, [2]],
    [10, [2]],
    [12, [2]],
    [13, [2]],
    [19, [2]],
    [15, [3, 5, 6, 7, 8, 9, 10, 11, 12]],
  ],
  'AA-2': [
    [15, [4]],
    [16, [2, 13]],
    [18, [2, 13]],
  ],
  'AA-3': [[16, [3, 5, 6, 7, 8, 9, 10, 11, 12]]],
  'AA-4': [[17, [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]],
  'AA-5': [[17, [2]]],
  'AA-6': [
    [3, [13]],
    [4, [13]],
    [10, [13]],
    [12, [13]],
    [13, [13]],
  ],
  'AA-7': [
    [6, [13]],
    [19, [13]],
  ],
  'AA-8': [
    [3, [3, 6, 7, 8, 9, 10, 11, 12]],
    [4, [3, 6, 7, 8, 9, 10, 11, 12]],
    [6, [3, 5, 6, 7, 8, 9, 10, 11, 12]],
    [10, [3, 5, 8, 9, 10, 11, 12]],
    [12, [3, 5, 8, 9, 10, 11, 12]],
    [13, [3, 5, 6, 8, 9, 12]],
    [19, [3, 5, 6, 7, 8, 9, 10, 11, 12]],
  ],
};

test('PS3.8-9.2.3-table: all 247 cells of Table 9-10 hold the action of the standard or none', () => {
  const expected = new Map<string, string>();
  for (const [action, places] of Object.entries(WHERE)) {
    for (const [event, inStates] of places)
      for (const state of inStates) expected.set(`Evt${event} Sta${state}`, action);
  }
  let cells = 0;
  for (const event of events) {
    for (const state of states) {
      assert.equal(actionFor(state, event), expected.get(`${event} ${state}`), `${event} in ${state}`);
      cells++;
    }
  }
  assert.equal(cells, 19 * 13);
});

test('PS3.8-9.2.3-pdus: a PDU never meets an empty cell once the transport connection is open', () => {
  const fromPeer: StateEvent[] = ['Evt3', 'Evt4', 'Evt6', 'Evt10', 'Evt12', 'Evt13', 'Evt16', 'Evt17', 'Evt19'];
  const open = states.filter((state) => state !== 'Sta1' && state !== 'Sta4');
  for (const state of open) for (const event of fromPeer) assert.notEqual(actionFor(state, event), undefined);
});

test('PS3.8-9.2.3-artim: every state that waits on the peer alone has ARTIM running, and every way out of it stops or outlives the timer', () => {
  const steps = Object.entries(ACTIONS).flatMap(([name, entry]: [string, Step | Choice]) =>
    'when' in entry ? [entry.yes, entry.no].map((step) => ({ name, ...step })) : [{ name, ...entry }],
  );
  for (const { name, effects, next } of steps) {
    const entersSta13 = next === 'Sta13' && name !== 'AA-6' && name !== 'AA-7';
    if (entersSta13 || next === 'Sta2') assert.ok(effects.includes('start ARTIM'), name);
  }
  assert.equal(actionFor('Sta13', 'Evt18'), 'AA-2');
  assert.equal(actionFor('Sta2', 'Evt18'), 'AA-2');
});

test('PS3.8-9.2.3-reachable: every state can be reached, and the idle state again from every state', () => {
  const edges = new Map<State, Set<State>>(states.map((state) => [state, new Set()]));
  for (const state of states) {
    for (const event of events) {
      const action = actionFor(state, event);
      if (action === undefined) continue;
      const entry: Step | Choice = ACTIONS[action];
      for (const step of 'when' in entry ? [entry.yes, entry.no] : [entry]) edges.get(state)?.add(step.next);
    }
  }
  const reach = (from: State): Set<State> => {
    const seen = new Set<State>([from]);
    for (const state of seen) for (const next of edges.get(state) ?? []) seen.add(next);
    return seen;
  };
  assert.equal(reach('Sta1').size, states.length);
  for (const state of states) assert.ok(reach(state).has('Sta1'), state);
});
