/** The groups of a meter: each message goes to the one that it belongs to, and none waits for another. */
import { newTrust } from '../crypto/anchors.js';
import { equalBytes, toHex } from '../crypto/bytes.js';
import type { VerifiedCertificate } from '../crypto/certificate.js';
import { ConflictError, VerificationError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import {
  certificateOf,
  findEntry,
  lineOf,
  renewalIn,
  verifyMembership,
  type Membership,
  type Renewal,
} from '../crypto/membership.js';
import { verifyEndorsement } from '../crypto/ring/endorsement.js';
import {
  decodeMemberState,
  newMemberState,
  type Attempt,
  type EpochKey,
  type MemberState,
  type PreviousKey,
} from '../crypto/ring/member-state.js';
import { onAnnouncement, onConfirmations, onRoster, onTokens } from '../crypto/ring/member.js';
import { MeterGroup, type MemberRound, type MeterGroupParts } from './meter-group.js';
import type { RoundType } from './round.js';
import { Serial } from './serial.js';

export class MeterGroups {
  readonly #parts: MeterGroupParts;
  /** By gid in hex. */
  readonly #groups = new Map<string, MeterGroup>();
  readonly #joining = new Serial();

  private constructor(parts: MeterGroupParts) {
    this.#parts = parts;
  }

  /** Loads what the store kept of each group. */
  static async load(parts: MeterGroupParts): Promise<MeterGroups> {
    const { store, suite, trustedRoots, certificateCache, nowS, log, identity } = parts;
    const loaded = new MeterGroups(parts);
    for (const gid of await store.groups()) {
      const [member, bundle] = [await store.loadMember(gid), await store.loadMembership(gid)];
      if (!member) continue;
      let membership: Membership | undefined;
      try {
        membership = bundle && verifyMembership({ suite, trustedRoots, certificateCache, nowS: nowS() }, bundle);
      } catch (error) {
        log.warn({ meter: identity.id, err: error }, 'the stored membership list is not valid now');
      }
      loaded.#groups.set(toHex(gid), new MeterGroup(parts, decodeMemberState(member), membership));
    }
    return loaded;
  }

  get states(): readonly MemberState[] {
    return [...this.#groups.values()].map(({ state }) => state);
  }

  /** The certificates that this meter has had, the oldest first and its own last. */
  get ownLine(): readonly Uint8Array[] {
    const { certHash } = this.#parts.identity;
    const lists = [...this.#groups.values()].flatMap(({ membership }) => membership?.list ?? []);
    const entry = lists.flatMap((list) => findEntry(list, certHash, 'member')?.entry ?? [])[0];
    return entry ? lineOf(entry) : [certHash];
  }

  /** The certificate that the lists have in the place of this meter's; undefined where it is the newest. */
  get renewal(): Renewal | undefined {
    const { certHash } = this.#parts.identity;
    const memberships = [...this.#groups.values()].flatMap(({ membership }) => membership ?? []);
    return memberships.flatMap((membership) => renewalIn(membership, certHash) ?? [])[0];
  }

  /** Tells whoever runs the meter that it has another certificate, or that other roots are to be trusted. */
  tellOfChanges(): void {
    const { trustedRoots, onTrust, onRenewal } = this.#parts;
    const memberships = [...this.#groups.values()].flatMap(({ membership }) => membership ?? []);
    const roots = newTrust(trustedRoots, memberships);
    if (roots) onTrust?.(roots);
    if (this.renewal) onRenewal?.(this.renewal);
  }

  /** Since when a group waits for a message; undefined when none lacks anything. */
  get waitingSinceS(): number | undefined {
    const since = [...this.#groups.values()].flatMap(({ waitingSinceS }) => waitingSinceS ?? []);
    return since.length > 0 ? Math.min(...since) : undefined;
  }

  /** Whether the group of this id, in hex, is in the midst of an agreement. */
  inRound(gid: string): boolean {
    return (this.#groups.get(gid)?.state.round.kind ?? 'idle') !== 'idle';
  }

  /** Whether this meter is a member of the group, by its id in hex, and has no key of that epoch and none of a later one. */
  lacks(gid: string, { epoch, attempt }: Attempt): boolean {
    const group = this.#groups.get(gid);
    if (!group?.membership || !findEntry(group.membership.list, this.#parts.identity.certHash, 'member')) return false;
    const name = group.state.active?.name;
    return !name || name.epoch < epoch || (name.epoch === epoch && name.attempt < attempt);
  }

  /**
   * Takes a message of the coordinator in the group that it belongs to.
   * @returns this meter's answer; empty where the protocol has none
   * @throws MalformedError, VerificationError, ConflictError as the round's step; `membership-unknown` for a group that is not
   *   known here, `restored-lately`
   */
  async take(type: RoundType, message: Uint8Array): Promise<Uint8Array> {
    if (type === 'announcement') this.#assertNotRestoredLately();
    try {
      return await this.#inItsGroup(memberRounds[type], message);
    } catch (error) {
      const isUnknown = error instanceof ConflictError && error.code === 'wrong-group' && type === 'announcement';
      if (!isUnknown) throw error;
      throw new ConflictError('membership-unknown', 'no membership list of that group is known here');
    }
  }

  /** Before the backup ended, an announcement that still lasts may have been answered with another ephemeral. */
  #assertNotRestoredLately(): void {
    const { restoredS = -Infinity, nowS } = this.#parts;
    if (nowS() >= restoredS + limits.restoredSilenceS) return;
    throw new ConflictError('restored-lately', 'the state came from a backup: this meter waits for a later epoch');
  }

  /**
   * Steps are pure, so the group that a message belongs to is the one whose step takes it. All are asked at once: a
   * group that is busy keeps no other waiting.
   */
  async #inItsGroup(round: MemberRound, message: Uint8Array): Promise<Uint8Array> {
    const refusals: ConflictError[] = [];
    const asked = [...this.#groups.values()].map(async (group) => {
      try {
        return { reply: await group.take(round, message) };
      } catch (error) {
        if (!(error instanceof ConflictError && isForAnother(error))) return { error };
        refusals.push(error);
        throw error;
      }
    });
    const taken = await Promise.any(asked).catch(() => undefined);
    if (!taken) {
      const unlisted = refusals.find(({ code }) => code === 'membership-unknown');
      throw unlisted ?? refusals[0] ?? new ConflictError('wrong-group', 'this meter is in no group yet');
    }
    if ('error' in taken) throw taken.error;
    return taken.reply;
  }

  /**
   * Takes a membership list that the authority signed and that names this meter, or that follows one which did.
   * @throws MalformedError, VerificationError `not-listed`, ConflictError `membership-rollback`, `membership-conflict`
   */
  async updateMembership(bundle: Uint8Array): Promise<Uint8Array> {
    const { suite, trustedRoots, certificateCache, nowS } = this.#parts;
    const membership = verifyMembership({ suite, trustedRoots, certificateCache, nowS: nowS() }, bundle);
    const known = this.#groups.get(toHex(membership.list.gid));
    const reply = await (known?.updateMembership(membership, bundle) ?? this.#join(membership, bundle));
    this.tellOfChanges();
    return reply;
  }

  /** The first list of a group. Another may be on its way to the disk. */
  #join(membership: Membership, bundle: Uint8Array): Promise<Uint8Array> {
    return this.#joining.run(async () => {
      const { gid } = membership.list;
      if (!findEntry(membership.list, this.#parts.identity.certHash, 'member')) {
        throw new VerificationError('not-listed', 'the list is of a group that this meter is no member of');
      }
      const group = this.#groups.get(toHex(gid)) ?? new MeterGroup(this.#parts, newMemberState(gid), undefined);
      const reply = await group.updateMembership(membership, bundle);
      this.#groups.set(toHex(gid), group);
      return reply;
    });
  }

  /**
   * Takes the backend's word for an epoch of one of the groups.
   * @throws MalformedError, VerificationError as `verifyEndorsement`; ConflictError as `onEndorsement`
   */
  async endorse(bundle: Uint8Array): Promise<Uint8Array> {
    const { suite, trustedRoots, nowS } = this.#parts;
    const endorsement = verifyEndorsement({ suite, trustedRoots, nowS: nowS() }, bundle);
    const group = this.#groups.get(toHex(endorsement.gid));
    if (!group) throw new ConflictError('wrong-group', 'an endorsement of a group that is not known here');
    return group.endorse(endorsement);
  }

  /** What commands to a group are held against: its newest list, and the keys that receive. */
  forCommands(gid: Uint8Array): { readonly membership: Membership; readonly keys: readonly PreviousKey[] } | undefined {
    const group = this.#groups.get(toHex(gid));
    if (!group?.membership) return undefined;
    const { active, previous } = group.state;
    return { membership: group.membership, keys: [active, previous?.key].flatMap((key) => key ?? []) };
  }

  /** Gives up rounds and old keys whose time has passed. */
  async tick(): Promise<void> {
    await Promise.all([...this.#groups.values()].map((group) => group.tick()));
  }

  /** The certificate of a coordinator of any group, by its kid. @throws VerificationError `certificate-expired` */
  coordinator(kid: Uint8Array): VerifiedCertificate | undefined {
    for (const { membership } of this.#groups.values()) {
      const certificate = this.#coordinatorIn(membership, kid);
      if (certificate) return certificate;
    }
    return undefined;
  }

  /** The certificate of a coordinator of one group, by its kid. @throws VerificationError `certificate-expired` */
  coordinatorOf(gid: Uint8Array, kid: Uint8Array): VerifiedCertificate | undefined {
    return this.#coordinatorIn(this.#groups.get(toHex(gid))?.membership, kid);
  }

  #coordinatorIn(membership: Membership | undefined, kid: Uint8Array): VerifiedCertificate | undefined {
    const entry = membership?.list.entries.find(({ certHash }) => equalBytes(certHash.subarray(0, 8), kid));
    if (!membership || !entry || !findEntry(membership.list, entry.certHash, 'coordinator')) return undefined;
    return certificateOf(membership, entry.certHash, 'coordinator', this.#parts.nowS());
  }

  /**
   * The group under whose policy readings are sealed, once its key is active: the one whose policy says who reads them;
   * of several, that with the lowest gid.
   */
  reporting(): { readonly membership: Membership; readonly active: EpochKey } | undefined {
    const { certHash } = this.#parts.identity;
    const [reporting] = [...this.#groups]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([, { membership, state }]) =>
        membership && membership.list.policy.readings.length > 0 && findEntry(membership.list, certHash, 'member')
          ? [{ membership, active: state.active }]
          : [],
      );
    return reporting?.active ? { membership: reporting.membership, active: reporting.active } : undefined;
  }
}

const memberRounds: { readonly [Type in RoundType]: MemberRound } = {
  announcement: onAnnouncement,
  roster: onRoster,
  tokens: onTokens,
  confirmations: onConfirmations,
};

const isForAnother = ({ code }: ConflictError): boolean =>
  code === 'wrong-group' || code === 'wrong-round' || code === 'membership-unknown';
