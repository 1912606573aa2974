/** Command sets, PS3.7 6.3: annotated bytes, round trips, refusals. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isStored, readCommand, writeCommand } from '../../src/dimse/command.ts';
import { ProtocolViolation } from '../../src/dimse/violation.ts';

const ECHO_RSP = Buffer.from(
  [
    '0000 0000 04000000 42000000', // (0000,0000) group length 66
    '0000 0200 12000000 312e322e3834302e31303030382e312e3100', // (0000,0002) Affected SOP Class UID, NUL to an even length
    '0000 0001 02000000 3080', // (0000,0100) Command Field C-ECHO-RSP
    '0000 2001 02000000 0700', // (0000,0120) Message ID Being Responded To 7
    '0000 0008 02000000 0101', // (0000,0800) Command Data Set Type: none
    '0000 0009 02000000 0000', // (0000,0900) Status: success
  ]
    .join('')
    .replace(/ /g, ''),
  'hex',
);
const ECHO = {
  AffectedSOPClassUID: '1.2.840.10008.1.1',
  CommandField: 0x8030,
  MessageIDBeingRespondedTo: 7,
  CommandDataSetType: 0x0101,
  Status: 0,
};

test('PS3.7-9.3.5-echo: a C-ECHO-RSP is read and written byte for byte', () => {
  assert.equal(writeCommand(ECHO).toString('hex'), ECHO_RSP.toString('hex'));
  assert.deepEqual(readCommand(ECHO_RSP), ECHO);
});

test('an element of the group that is not ours is passed over', () => {
  const offending = Buffer.from('00000109' + '04000000' + '10001000', 'hex');
  assert.deepEqual(readCommand(Buffer.concat([ECHO_RSP, offending])), ECHO);
});

test('PS3.7-6.3.1-whole: a command cut anywhere is refused or lacks what a command needs', () => {
  for (let cut = 0; cut < ECHO_RSP.length - 10; cut++) {
    assert.throws(() => readCommand(ECHO_RSP.subarray(0, cut)), ProtocolViolation, `cut at ${cut}`);
  }
});

test('commands survive a round trip, and mutated ones are read or refused and nothing else', () => {
  const uint16 = fc.integer({ min: 0, max: 0xffff });
  const uid = fc.stringMatching(/^[1-9](\.[1-9]\d{0,5}){1,8}$/);
  const command = fc.record(
    {
      AffectedSOPClassUID: uid,
      AffectedSOPInstanceUID: uid,
      MessageID: uint16,
      Status: uint16,
      CommandField: uint16,
      CommandDataSetType: uint16,
    },
    { requiredKeys: ['CommandField', 'CommandDataSetType'], noNullPrototype: true },
  );
  fc.assert(
    fc.property(command, fc.nat(), fc.integer({ min: 0, max: 255 }), (before, at, to) => {
      const bytes = writeCommand(before);
      assert.deepEqual(readCommand(bytes), before);
      bytes[at % bytes.length] = to;
      try {
        readCommand(bytes);
      } catch (error) {
        assert.ok(error instanceof ProtocolViolation, String(error));
      }
    }),
    { seed: 7, numRuns: 5000 },
  );
});

test('PS3.4-B.2.3-warnings: success and the three warnings of PS3.4 Table B.2-1 mean stored, failures do not', () => {
  for (const status of [0x0000, 0xb000, 0xb006, 0xb007]) assert.equal(isStored(status), true);
  for (const status of [0xa700, 0xa900, 0xc000, 0x0110, 0x0122, 0xfe00]) assert.equal(isStored(status), false);
});
