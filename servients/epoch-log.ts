/** The epochs that a backend has recorded, as a reader fetches them: it believes what a proof shows, and no more. */
import { Ajv, type SchemaObject, type ValidateFunction } from 'ajv';
import addFormats from 'ajv-formats';
import { fromHex, toHex } from '../crypto/bytes.js';
import { MalformedError, NotFoundError, SetupError } from '../crypto/errors.js';
import { verifyMembership, type Membership, type MembershipCheck } from '../crypto/membership.js';
import { verifyProof, type VerifiedProof } from '../crypto/ring/proof.js';
import { resolveReference } from '../td/references.js';
import type { BackendClient } from './backend-client.js';
import { backendOf, type Asking } from './chain-client.js';
import { trustedBy } from './reader-file.js';

/** As the backend tells it; nobody has signed it. */
export interface ListedEpoch {
  readonly gid: string;
  readonly epoch: number;
  readonly attempt: number;
  readonly keyName: string;
  readonly members: number;
  readonly listHash: string;
  readonly listVersion: number;
  readonly listRevision: number;
  readonly reason: string;
  readonly recordedAt: string;
  readonly endorsedAt: string;
  readonly provisional: boolean;
}

/** As the backend tells it. */
export interface ListedList {
  readonly listVersion: number;
  readonly listRevision: number;
  readonly listHash: string;
  readonly publishedAt: string;
}

export interface ProvenEpoch extends VerifiedProof {
  readonly bytes: Uint8Array;
}

/** What the backend gives at most. */
const newest = 500;

const ajv = addFormats.default(new Ajv());
const common = (name: string): object => resolveReference(`schemas/common.schema.json#/definitions/${name}`) as object;
const isEpoch = ajv.compile<ListedEpoch>(resolveReference('schemas/epoch-recorded.schema.json') as SchemaObject);
const isGroup = ajv.compile<{ readonly gid: string }>({
  type: 'object',
  properties: { gid: common('gid') },
  required: ['gid'],
});
const isList = ajv.compile<ListedList>({
  type: 'object',
  properties: {
    listVersion: common('listVersion'),
    listRevision: common('listRevision'),
    listHash: common('listHash'),
    publishedAt: common('time'),
  },
  required: ['listVersion', 'listRevision', 'listHash', 'publishedAt'],
});

export class EpochLog {
  readonly #keys: Asking;
  readonly #nowS: () => number;
  readonly #backend: BackendClient;

  constructor(keys: Asking, nowS: () => number) {
    this.#keys = keys;
    this.#nowS = nowS;
    this.#backend = backendOf(keys, nowS);
  }

  /** Ids in hex. @throws PeerRefusal, UnavailableError */
  async groups(): Promise<readonly string[]> {
    return (await this.#items('groups', 'groups', isGroup)).map(({ gid }) => gid);
  }

  /** The only group. @throws SetupError `group-needed` where there are several, NotFoundError `group-unknown` */
  async onlyGroup(): Promise<string> {
    const [gid, ...others] = await this.groups();
    if (gid === undefined) throw new NotFoundError('group-unknown', 'the backend has no group yet');
    if (others.length === 0) return gid;
    throw new SetupError(
      'group-needed',
      `several groups are there; choose with --group: ${[gid, ...others].join(', ')}`,
    );
  }

  /** The newest 500, the newest first. @throws PeerRefusal `group-unknown`, UnavailableError */
  epochs(gid: string): Promise<readonly ListedEpoch[]> {
    return this.#items(`groups/${gid}/epochs?limit=${newest}`, 'epochs', isEpoch);
  }

  /** All lists of a group, the newest first. @throws PeerRefusal `group-unknown`, UnavailableError */
  lists(gid: string): Promise<readonly ListedList[]> {
    return this.#items(`groups/${gid}/lists`, 'lists', isList);
  }

  /**
   * An epoch by its number (its last attempt) or as `<epoch>.<attempt>`; the newest where none is named.
   * @throws NotFoundError `epoch-unknown`
   */
  async find(gid: string, name?: string): Promise<ListedEpoch> {
    const listed = await this.epochs(gid);
    const found =
      name === undefined
        ? listed[0]
        : listed.find(({ epoch, attempt }) => name === `${epoch}` || name === `${epoch}.${attempt}`);
    if (!found) throw new NotFoundError('epoch-unknown', `no epoch${name === undefined ? '' : ` ${name}`} is recorded`);
    return found;
  }

  /** @throws PeerRefusal `epoch-unknown`, UnavailableError, VerificationError as `verifyProof` */
  async proof({ gid, epoch, attempt }: Pick<ListedEpoch, 'gid' | 'epoch' | 'attempt'>): Promise<ProvenEpoch> {
    const bytes = await this.#backend.proof(fromHex(gid), epoch, attempt);
    const verified = verifyProof(this.#check(), bytes);
    const { name } = verified.record;
    if (toHex(name.gid) !== gid || name.epoch !== epoch || name.attempt !== attempt) {
      throw new NotFoundError('epoch-unknown', 'the backend gave the proof of another epoch');
    }
    return { ...verified, bytes };
  }

  /** The newest list of a group. @throws PeerRefusal `group-unknown`, UnavailableError, VerificationError */
  async newestMembership(gid: string): Promise<Membership> {
    const bundle = await this.#backend.membership(fromHex(gid));
    if (!bundle) throw new NotFoundError('group-unknown', 'the backend has no list of that group');
    return verifyMembership(this.#check(), bundle);
  }

  #check(): MembershipCheck {
    return { suite: this.#keys.suite, trustedRoots: trustedBy(this.#keys), nowS: this.#nowS() };
  }

  async #items<T>(path: string, name: string, isItem: ValidateFunction<T>): Promise<readonly T[]> {
    const items: unknown = ((await this.#backend.get(path)) as Record<string, unknown> | null)?.[name];
    if (Array.isArray(items) && items.every((item): item is T => isItem(item))) return items;
    throw new MalformedError('message-malformed', `the backend gave no list of ${name}`);
  }
}
