/** What an operator of the list asks of a group's gateway, signed by the operator's key and checked by the gateway. */
import { fromHex } from '../../crypto/bytes.js';
import { sign1 } from '../../crypto/cose.js';
import { ConflictError, GridringError, NotFoundError } from '../../crypto/errors.js';
import { findEntry, type Membership } from '../../crypto/membership.js';
import { contextOf, encodeRekeyRequest } from '../../crypto/ring/messages.js';
import type { Suite } from '../../crypto/suite.js';
import type { Identity } from '../../things/parts.js';
import { invokeMessage } from '../consume.js';
import type { DirectoryClient } from '../directory-client.js';
import { withWot } from '../with-wot.js';

const answerWithinMs = 10_000;

/** A request for a new key in the place of `currentEpoch` (0 where there is none). */
export function rekeyRequest(
  suite: Suite,
  { signer, kid }: Identity,
  gid: string,
  currentEpoch: number,
  timeS: number,
): Uint8Array {
  const request = { gid: fromHex(gid), currentEpoch, reason: 'request', timeS } as const;
  return sign1(suite, signer, kid, contextOf('rekeyRequest', request.gid), encodeRekeyRequest(request));
}

/**
 * Brings a signed request to a gateway of the group.
 * @throws NotFoundError `gateway-unknown`; PeerRefusal with the gateway's code; UnavailableError
 */
export async function askGateway(
  directory: DirectoryClient,
  { list, certificates }: Membership,
  action: 'rekey' | 'revoke',
  message: Uint8Array,
): Promise<void> {
  let refusal: unknown = new NotFoundError('gateway-unknown', 'the list names no gateway with a valid certificate');
  for (const [i, { certHash }] of list.entries.entries()) {
    const id = findEntry(list, certHash, 'coordinator') && certificates[i]?.id;
    if (id === undefined) continue;
    try {
      const td = await directory.thing(`urn:gridring:gateway:${id}`);
      await withWot(answerWithinMs, async (wot) => invokeMessage(await wot.consume(td), action, message));
      return;
    } catch (error) {
      if (!(error instanceof GridringError) || error instanceof ConflictError) throw error;
      refusal = error;
    }
  }
  throw refusal;
}
