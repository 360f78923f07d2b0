/** A community as a command sees it: its groups by signed lists and proofs, and beside them what the gateways say. */
import { toHex } from '../../crypto/bytes.js';
import { GridringError, NotFoundError } from '../../crypto/errors.js';
import { findEntry, type Membership } from '../../crypto/membership.js';
import { EpochLog, type ListedEpoch, type ProvenEpoch } from '../epoch-log.js';
import { fetchOf, type Asking } from '../chain-client.js';
import { trustedBy } from '../reader-file.js';
import { DirectoryClient } from '../directory-client.js';
import { gatewayGroups, type SeenGroup, type SeenMember } from './gateway-view.js';

export interface GroupView {
  /** In hex. */
  readonly gid: string;
  readonly membership: Membership;
  /** The newest epoch, verified; undefined before the first. */
  readonly epoch: { readonly listed: ListedEpoch; readonly proof: ProvenEpoch } | undefined;
  /** By certHash in hex; undefined where no gateway of the group answers. */
  readonly seen: ReadonlyMap<string, SeenMember> | undefined;
}

/** A member of a group's newest list. */
export interface MemberView {
  readonly id: string;
  readonly certHash: string;
  /** Unix seconds; undefined where no certificate in the list's bundle verifies. */
  readonly certificateEndS: number | undefined;
  /** Whether it has confirmed the key of the newest epoch, by its signature. */
  readonly holdsKey: boolean;
  readonly seen: SeenMember | undefined;
}

export class Community {
  readonly log: EpochLog;
  /** Of Things that have signed their descriptions. */
  readonly directory: DirectoryClient;

  constructor(keys: Asking, nowS: () => number) {
    this.log = new EpochLog(keys, nowS);
    const { suite, backend } = keys;
    this.directory = new DirectoryClient({
      ...{ url: backend.url, fetch: fetchOf(keys, nowS) },
      trust: { suite, trustedRoots: trustedBy(keys), nowS },
    });
  }

  /** All groups, or the one that is named. @throws NotFoundError `group-unknown`, and as `EpochLog` */
  async groups(gid?: string): Promise<readonly GroupView[]> {
    const gids = (await this.log.groups()).filter((known) => gid === undefined || known === gid);
    if (gids.length === 0) throw new NotFoundError('group-unknown', 'the backend has no such group');
    const views: GroupView[] = [];
    for (const known of gids) views.push(await this.#group(known));
    return views;
  }

  async #group(gid: string): Promise<GroupView> {
    const membership = await this.log.newestMembership(gid);
    const [listed] = await this.log.epochs(gid);
    return {
      gid,
      membership,
      epoch: listed && { listed, proof: await this.log.proof(listed) },
      seen: seenIn(await this.#asSeen(membership), gid),
    };
  }

  /** The first of the group's gateways that answers is asked: what is signed can be shown without one. */
  async #asSeen({ list, certificates }: Membership): Promise<readonly SeenGroup[]> {
    for (const [i, { certHash }] of list.entries.entries()) {
      const id = findEntry(list, certHash, 'coordinator') && certificates[i]?.id;
      if (id === undefined) continue;
      try {
        return await gatewayGroups(this.directory, `urn:gridring:gateway:${id}`);
      } catch (error) {
        if (!(error instanceof GridringError)) throw error;
      }
    }
    return [];
  }
}

const seenIn = (groups: readonly SeenGroup[], gid: string): GroupView['seen'] => {
  const group = groups.find((seen) => seen.gid === gid);
  return group && new Map(group.members.map((member) => [member.certHash, member]));
};

/** The members of the newest list, by their ids. */
export function membersOf({ membership: { list, certificates }, epoch, seen }: GroupView): readonly MemberView[] {
  const holders = new Set(epoch?.proof.holders.map(({ certificate }) => toHex(certificate.certHash)));
  return list.entries
    .flatMap(({ certHash }, i) => {
      if (!findEntry(list, certHash, 'member')) return [];
      const key = toHex(certHash);
      const certificate = certificates[i];
      return {
        id: certificate?.id ?? key.slice(0, 16),
        certHash: key,
        certificateEndS: certificate?.notAfterS,
        holdsKey: holders.has(key),
        seen: seen?.get(key),
      };
    })
    .sort((a, b) => a.id.localeCompare(b.id));
}

/** Who is in the newest list and does not hold the newest key. */
export const behind = (members: readonly MemberView[]): readonly MemberView[] =>
  members.filter(({ holdsKey }) => !holdsKey);

/** How a member stands to the newest key, in a few words. */
export function keyStatus({ holdsKey, certificateEndS, seen }: MemberView): string {
  if (holdsKey) return 'holds it';
  if (certificateEndS === undefined) return 'certificate not valid';
  const why = seen && whyWithout(seen);
  return why ?? (seen ? 'joins with the next' : 'does not hold it');
}

/** Whom the next agreement would go without, by what the gateway says, and why. */
export function leftBehind(members: readonly MemberView[]): readonly { readonly id: string; readonly why: string }[] {
  return members.flatMap(({ id, seen }) => {
    const why = seen && whyWithout(seen);
    return why === undefined ? [] : [{ id, why }];
  });
}

function whyWithout({ enrolled, reach, leftOut, until, lastHeard }: SeenMember): string | undefined {
  if (reach === 'quarantined') {
    const untilWhen = until === undefined ? '' : ` until ${until}`;
    return `${leftOutReasons[leftOut ?? 'dropouts']}${untilWhen}`;
  }
  if (reach !== 'absent') return undefined;
  if (!enrolled) return 'has never enrolled at this gateway';
  return lastHeard === undefined ? 'not heard of since the gateway started' : `silent since ${lastHeard}`;
}

const leftOutReasons: Readonly<Record<NonNullable<SeenMember['leftOut']>, string>> = {
  left: 'has left, until it enrols again',
  revoked: 'revoked by an operator',
  dropouts: 'dropped out again and again; waits',
  convicted: 'spoilt an attempt, and waits for a newer list',
};
