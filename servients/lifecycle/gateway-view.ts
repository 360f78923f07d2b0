/** What a gateway says of the groups that it coordinates: its own word, which proves nothing and helps to plan. */
import { Ajv, type SchemaObject } from 'ajv';
import addFormats from 'ajv-formats';
import { MalformedError } from '../../crypto/errors.js';
import { resolveReference } from '../../td/references.js';
import { readValue } from '../consume.js';
import type { DirectoryClient } from '../directory-client.js';
import { withWot } from '../with-wot.js';

/** A member as its gateway sees it (td/schemas/gateway-groups.schema.json). */
export interface SeenMember {
  readonly certHash: string;
  readonly id: string;
  readonly enrolled: boolean;
  readonly active: boolean;
  readonly reach: 'callable' | 'awaited' | 'absent' | 'quarantined';
  readonly lastHeard?: string;
  readonly leftOut?: 'left' | 'revoked' | 'dropouts' | 'convicted';
  readonly until?: string;
}

export interface SeenGroup {
  readonly gid: string;
  readonly listVersion: number;
  readonly members: readonly SeenMember[];
}

const answerWithinMs = 5_000;

/**
 * The property `groups` of a gateway that is found in the directory; `id` is its URN.
 * @throws PeerRefusal `td-unknown`, UnavailableError, MalformedError
 */
export async function gatewayGroups(directory: DirectoryClient, id: string): Promise<readonly SeenGroup[]> {
  const td = await directory.thing(id);
  const value = await withWot(answerWithinMs, async (wot) => readValue(await wot.consume(td), 'groups'));
  const isGroups = addFormats
    .default(new Ajv())
    .compile<{ readonly groups: readonly SeenGroup[] }>(
      resolveReference('schemas/gateway-groups.schema.json') as SchemaObject,
    );
  if (isGroups(value)) return value.groups;
  throw new MalformedError('message-malformed', `what ${id} says of its groups is not of the form that it should be`);
}
