/** Where a node's DICOM port is, as an association of ours wants to know it. */
import type { DimseAddress } from '../config/nodes.ts';
import type { TlsFiles } from '../config/tls-files.ts';
import type { ScuTls } from '../dimse/scu.ts';

export interface Peer {
  readonly host: string;
  readonly port: number;
  readonly calledAE: string;
  readonly tls?: ScuTls;
}

/** `own`: our certificate, for nodes that ask for one. */
export function peerOf({ host, port, aeTitle, tls, authorities }: DimseAddress, own: TlsFiles | undefined): Peer {
  const peer = { host, port, calledAE: aeTitle };
  if (!tls) return peer;
  return {
    ...peer,
    tls: {
      ...(authorities === undefined ? {} : { ca: authorities }),
      ...(own === undefined ? {} : { key: own.key, cert: own.certificate }),
    },
  };
}
