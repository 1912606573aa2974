/** Each PDU as annotated bytes, read and written; what is not a PDU is refused with the reason of PS3.8 Table 9-26. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { AssociateAccept, AssociateRequest } from '../../src/dimse/association-items.ts';
import { ByteQueue } from '../../src/dimse/byte-queue.ts';
import { MAX_ASSOCIATE_BYTES, readPdu, writeDataPdu, writePdu } from '../../src/dimse/pdu.ts';
import type { Pdu } from '../../src/dimse/pdu.ts';
import { ProtocolViolation } from '../../src/dimse/violation.ts';

const MAX_DATA = 16_384;

/** Hexadecimal with remarks: everything from a # to the end of its line is for the reader. */
function bytes(annotated: string): Buffer {
  return Buffer.from(annotated.replace(/#.*$/gm, '').replace(/\s/g, ''), 'hex');
}

const ASSOCIATE_RQ = bytes(`
  01 00 000000d8                          # A-ASSOCIATE-RQ, 216 bytes follow
  0001 0000                               # protocol version 1, reserved
  495354484d5553202020202020202020        # called AE: ISTHMUS, 16 bytes
  4d4f44414c4954592020202020202020        # calling AE: MODALITY, 16 bytes
  0000000000000000000000000000000000000000000000000000000000000000 # 32 reserved bytes
  10 00 0015                              # application context, 21 bytes
    312e322e3834302e31303030382e332e312e312e31 # 1.2.840.10008.3.1.1.1
  20 00 002e                              # presentation context, 46 bytes
    01 00 00 00                           # id 1
    30 00 0011                            # abstract syntax, 17 bytes
      312e322e3834302e31303030382e312e31  # 1.2.840.10008.1.1 Verification
    40 00 0011                            # transfer syntax, 17 bytes
      312e322e3834302e31303030382e312e32  # 1.2.840.10008.1.2 Implicit VR Little Endian
  50 00 0045                              # user information, 69 bytes
    51 00 0004 00004000                   # maximum length 16384
    52 00 0006 322e32352e39               # implementation class 2.25.9
    53 00 0004 0005 0002                  # asynchronous operations: 5 invoked, 2 performed
    54 00 0015                            # role selection, 21 bytes
      0011 312e322e3834302e31303030382e312e31 # 17 bytes: 1.2.840.10008.1.1
      01 00                               # SCU yes, SCP no
    55 00 0002 5631                       # implementation version name V1
    58 00 0008                            # user identity, 8 bytes
      01 00                               # type 1: user name; no positive response wanted
      0002 6d65                           # 2 bytes: "me"
      0000                                # no secondary field
`);

const REQUEST: AssociateRequest = {
  protocolVersion: 1,
  calledAE: 'ISTHMUS',
  callingAE: 'MODALITY',
  applicationContext: '1.2.840.10008.3.1.1.1',
  contexts: [{ id: 1, abstractSyntax: '1.2.840.10008.1.1', transferSyntaxUIDs: ['1.2.840.10008.1.2'] }],
  user: {
    maxPduLength: 16_384,
    implementationClassUID: '2.25.9',
    implementationVersionName: 'V1',
    asyncOperations: { invoked: 5, performed: 2 },
    roles: [{ sopClassUID: '1.2.840.10008.1.1', scu: true, scp: false }],
    userIdentityType: 1,
  },
};

const ASSOCIATE_AC = bytes(`
  02 00 000000ad                          # A-ASSOCIATE-AC, 173 bytes follow
  0001 0000                               # protocol version 1, reserved
  495354484d5553202020202020202020        # ISTHMUS, as it was called
  4d4f44414c4954592020202020202020        # MODALITY, as it called itself
  0000000000000000000000000000000000000000000000000000000000000000
  10 00 0015 312e322e3834302e31303030382e332e312e312e31
  21 00 0019                              # presentation context, answered, 25 bytes
    01 00 00 00                           # id 1, result 0: accepted
    40 00 0011 312e322e3834302e31303030382e312e32
  21 00 0019
    03 00 03 00                           # id 3, result 3: abstract syntax not supported
    40 00 0011 312e322e3834302e31303030382e312e32
  50 00 0012
    51 00 0004 00020000                   # maximum length 131072
    52 00 0006 322e32352e39               # 2.25.9
`);

const ACCEPT: AssociateAccept = {
  protocolVersion: 1,
  calledAE: 'ISTHMUS',
  callingAE: 'MODALITY',
  applicationContext: '1.2.840.10008.3.1.1.1',
  contexts: [
    { id: 1, result: 0, transferSyntaxUID: '1.2.840.10008.1.2' },
    { id: 3, result: 3, transferSyntaxUID: '' },
  ],
  user: {
    maxPduLength: 131_072,
    implementationClassUID: '2.25.9',
    implementationVersionName: undefined,
    asyncOperations: undefined,
    roles: [],
    userIdentityType: undefined,
  },
};

const SMALL: [string, Buffer, Exclude<Pdu, { type: 'P-DATA-TF' }>][] = [
  [
    'A-ASSOCIATE-RJ',
    bytes('03 00 00000004  00 02 03 02 # reserved, result transient, source presentation, reason local limit'),
    { type: 'A-ASSOCIATE-RJ', reject: { result: 2, source: 3, reason: 2 } },
  ],
  ['A-RELEASE-RQ', bytes('05 00 00000004  00000000 # reserved'), { type: 'A-RELEASE-RQ' }],
  ['A-RELEASE-RP', bytes('06 00 00000004  00000000 # reserved'), { type: 'A-RELEASE-RP' }],
  [
    'A-ABORT',
    bytes('07 00 00000004  00 00 02 06 # reserved, reserved, source provider, reason invalid parameter value'),
    { type: 'A-ABORT', abort: { source: 2, reason: 6 } },
  ],
];

const DATA_TF = bytes(`
  04 00 00000012                          # P-DATA-TF, 18 bytes
    00000006 05 03 aabbccdd               # 6 bytes: context 5, command and last, 4 bytes
    00000004 05 00 eeff                   # 4 bytes: context 5, data set and not last, 2 bytes
`);

function read(wire: Buffer, maxData = MAX_DATA): Pdu | undefined {
  const queue = new ByteQueue();
  queue.push(wire);
  const pdu = readPdu(queue, maxData);
  if (pdu !== undefined) assert.equal(queue.lengthBytes, 0, 'bytes are left over');
  return pdu;
}

function plain(pdu: Pdu | undefined): unknown {
  if (pdu?.type !== 'P-DATA-TF') return pdu;
  return pdu.values.map(({ slices, ...value }) => ({ ...value, fragment: Buffer.concat(slices).toString('hex') }));
}

test('PS3.8-9.3.2-request: an A-ASSOCIATE-RQ with every sub-item is read', () => {
  assert.deepEqual(read(ASSOCIATE_RQ), { type: 'A-ASSOCIATE-RQ', request: REQUEST });
});

test('an A-ASSOCIATE-RQ is written as it is read, without an identity', () => {
  const wire = writePdu({ type: 'A-ASSOCIATE-RQ', request: REQUEST });
  const withoutIdentity = { ...REQUEST, user: { ...REQUEST.user, userIdentityType: undefined } };
  assert.deepEqual(read(wire), { type: 'A-ASSOCIATE-RQ', request: withoutIdentity });
  const identityBytes = 12;
  const expected = Buffer.from(ASSOCIATE_RQ.subarray(0, ASSOCIATE_RQ.length - identityBytes));
  expected.writeUInt32BE(expected.length - 6, 2);
  expected.writeUInt16BE(0x45 - identityBytes, 6 + 68 + 25 + 50 + 2);
  assert.equal(wire.toString('hex'), expected.toString('hex'));
});

test('PS3.8-9.3.3-accept: an A-ASSOCIATE-AC is read and written', () => {
  assert.deepEqual(read(ASSOCIATE_AC), { type: 'A-ASSOCIATE-AC', accept: ACCEPT });
  const contexts = ACCEPT.contexts.map((context) => ({ ...context, transferSyntaxUID: '1.2.840.10008.1.2' }));
  const wire = writePdu({ type: 'A-ASSOCIATE-AC', accept: { ...ACCEPT, contexts } });
  assert.equal(wire.toString('hex'), ASSOCIATE_AC.toString('hex'));
});

for (const [name, wire, pdu] of SMALL) {
  test(`${name} is read and written`, () => {
    assert.deepEqual(read(wire), pdu);
    assert.equal(writePdu(pdu).toString('hex'), wire.toString('hex'));
  });
}

test('PS3.8-9.3.5-data: a P-DATA-TF with a command and a data fragment is read', () => {
  assert.deepEqual(plain(read(DATA_TF)), [
    { contextId: 5, isCommand: true, isLast: true, fragment: 'aabbccdd' },
    { contextId: 5, isCommand: false, isLast: false, fragment: 'eeff' },
  ]);
});

test('a fragment is written as header and the very slices of the caller', () => {
  const slices = [Buffer.from('aabb', 'hex'), Buffer.from('ccdd', 'hex')];
  const parts = writeDataPdu({ contextId: 5, isCommand: true, isLast: true, slices });
  assert.equal(parts[1], slices[0]);
  assert.equal(Buffer.concat(parts).toString('hex'), '04000000000a' + '00000006' + '0503' + 'aabbccdd');
});

test('PS3.8-9.3.1-unknown: an item of unknown type is skipped (PS3.8 9.3.1)', () => {
  const unknown = bytes('7f 00 0003 010203 # an item of another century');
  const wire = Buffer.concat([ASSOCIATE_RQ, unknown]);
  wire.writeUInt32BE(wire.length - 6, 2);
  assert.deepEqual(read(wire), { type: 'A-ASSOCIATE-RQ', request: REQUEST });
});

test('a PDU that is not whole is waited for, at every cut', () => {
  for (const wire of [ASSOCIATE_RQ, ASSOCIATE_AC, DATA_TF, ...SMALL.map(([, small]) => small)]) {
    for (let cut = 0; cut < wire.length; cut++) assert.equal(read(wire.subarray(0, cut)), undefined);
  }
});

test('PS3.8-9.3.1-stream: PDUs come out the same however the stream is cut', () => {
  const stream = Buffer.concat([ASSOCIATE_RQ, DATA_TF, ASSOCIATE_AC, DATA_TF, ...SMALL.map(([, wire]) => wire)]);
  const whole = [ASSOCIATE_RQ, DATA_TF, ASSOCIATE_AC, DATA_TF, ...SMALL.map(([, wire]) => wire)].map((wire) =>
    plain(read(wire)),
  );
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 60 }), (sizes) => {
      const queue = new ByteQueue();
      const pdus: unknown[] = [];
      let offset = 0;
      for (let turn = 0; offset < stream.length; turn++) {
        const size = sizes[turn % sizes.length] ?? 1;
        queue.push(stream.subarray(offset, offset + size));
        offset += size;
        for (let pdu = readPdu(queue, MAX_DATA); pdu !== undefined; pdu = readPdu(queue, MAX_DATA))
          pdus.push(plain(pdu));
      }
      assert.deepEqual(pdus, whole);
    }),
    { seed: 20, numRuns: 300 },
  );
});

const associate = (type: string, items: string): Buffer => {
  const body = Buffer.concat([bytes('0001 0000'), Buffer.alloc(64, 0x20), bytes(items)]);
  const header = bytes(`${type} 00 00000000`);
  header.writeUInt32BE(body.length, 2);
  return Buffer.concat([header, body]);
};

const BAD: [string, Buffer, number][] = [
  ['a type of 0', bytes('00'), 1],
  ['a type of 8, before its length has come', bytes('08'), 1],
  ['the first byte of an HTTP request', Buffer.from('G'), 1],
  ['an A-RELEASE-RQ of 5 bytes', bytes('05 00 00000005'), 6],
  ['an A-ABORT of 2 GiB, from its header alone', bytes('07 00 80000000'), 6],
  ['an A-ASSOCIATE-RQ that is too long, from its header alone', bytes('01 00 00080001'), 6],
  ['an A-ASSOCIATE-RQ shorter than its fixed fields', bytes(`01 00 00000043 ${'00'.repeat(67)}`), 6],
  ['a P-DATA-TF longer than offered, from its header alone', bytes('04 00 00004001'), 6],
  ['a P-DATA-TF without a value', bytes('04 00 00000000'), 6],
  ['a value that reaches beyond its PDU', bytes('04 00 00000006 00000003 01 00'), 6],
  ['a value of 1 byte', bytes('04 00 00000006 00000001 01 00'), 6],
  ['bytes after the last value', bytes('04 00 00000008 00000002 01 00 0000'), 6],
  ['an item that reaches beyond its PDU', associate('01', '10 00 ffff 31'), 6],
  ['an item without a length', associate('01', '10 00'), 6],
  ['a presentation context of 3 bytes', associate('01', '20 00 0003 010000'), 6],
  ['an even presentation context id', associate('01', '20 00 0004 02000000'), 6],
  ['two presentation contexts with one id', associate('01', '20 00 0004 01000000 20 00 0004 01000000'), 6],
  ['no presentation context', associate('01', '10 00 0001 31'), 6],
  ['129 presentation contexts', associate('01', '20 00 0004 01000000'.repeat(129)), 6],
  ['a syntax that reaches beyond its context', associate('01', '20 00 0009 01000000 30 00 0002 31'), 6],
  ['a maximum length of 3 bytes', associate('01', '20 00 0004 01000000 50 00 0007 51 00 0003 000000'), 6],
  [
    'a role for a class longer than its item',
    associate('01', '20 00 0004 01000000 50 00 0008 54 00 0004 0009 0101'),
    6,
  ],
  ['a name of 129 bytes', associate('01', `10 00 0081 ${'31'.repeat(129)}`), 6],
  ['an answered context with an even id', associate('02', '21 00 0004 00000000'), 6],
];

for (const [name, wire, reason] of BAD) {
  test(`${name} is refused with abort reason ${reason}`, () => {
    assert.throws(
      () => read(wire),
      (error) => error instanceof ProtocolViolation && error.abortReason === reason,
    );
  });
}

test('PS3.8-9.3.1-mutated: mutated PDUs are read, waited for or refused, and nothing else', () => {
  const seeds = [ASSOCIATE_RQ, ASSOCIATE_AC, DATA_TF, ...SMALL.map(([, wire]) => wire)];
  const mutation = fc.record({ at: fc.nat(400), to: fc.integer({ min: 0, max: 255 }), cut: fc.boolean() });
  fc.assert(
    fc.property(fc.constantFrom(...seeds), fc.array(mutation, { minLength: 1, maxLength: 6 }), (seed, mutations) => {
      let wire = Buffer.from(seed);
      for (const { at, to, cut } of mutations) {
        if (cut) wire = Buffer.concat([wire.subarray(0, at % wire.length), wire.subarray((at + to) % wire.length)]);
        else if (wire.length > 0) wire[at % wire.length] = to;
      }
      const queue = new ByteQueue();
      queue.push(wire);
      try {
        while (readPdu(queue, MAX_DATA) !== undefined);
      } catch (error) {
        assert.ok(error instanceof ProtocolViolation, String(error));
      }
      assert.ok(queue.lengthBytes < MAX_ASSOCIATE_BYTES);
    }),
    { seed: 8, numRuns: 20_000 },
  );
});
