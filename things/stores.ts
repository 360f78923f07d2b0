/**
 * What the Things need to have kept. Every method is one durable transaction: when it has returned, a crash loses
 * nothing of it. Implementations live in `servients/stores/`. A full disk is an UnavailableError `disk-full`; so is a
 * full budget to an outbox, which leaves room for what a ring and its epochs have to keep.
 */
import type { Login } from './issuer-store.js';
import type { AuditEntry, AuditFacts, AuditOutcome, AuditPlace } from '../crypto/audit/entry.js';
import type { EntryKind } from '../crypto/envelope/chain.js';
import type { ListOrder } from '../crypto/membership.js';
import type { CommandStore } from './command-store.js';

/** A grant or an entry of a meter's chain, as COSE bytes, on its way. */
export interface OutboxItem {
  /** Ascending in the order in which items were added; never used twice. */
  readonly position: number;
  readonly kind: 'grant' | EntryKind;
  readonly message: Uint8Array;
}

/** An item that goes into an outbox. */
export interface NewItem extends Omit<OutboxItem, 'position'> {
  /** Of an entry in its meter's chain; a grant has none. */
  readonly sequence?: number;
}

export interface OutboxStatus {
  readonly depth: number;
  /** Of the items' messages. */
  readonly bytes: number;
  /** When the oldest item was added, Unix seconds; null when empty. */
  readonly oldestS: number | null;
}

/** What the next station refuses for good, as far as one can tell. */
export interface SetAside {
  /** Items, and at a gateway records of epochs. */
  readonly count: number;
  /** With which the newest item was refused, or where there is none the newest record; null for nothing. */
  readonly lastCode: string | null;
}

/** How full a database is. */
export interface DiskStatus {
  /** Of its pages that hold something. */
  readonly usedBytes: number;
  /** What it may grow to before its outbox takes no more; null where nothing but the disk limits it. */
  readonly budgetBytes: number | null;
}

export interface Outbox {
  /**
   * The first items in order that come after a position: at most `maxItems` and, beyond the first, at most `maxBytes` of
   * messages.
   */
  pending(maxItems: number, maxBytes: number, afterPosition?: number): Promise<readonly OutboxItem[]>;
  /** The other side has these durably: they are forgotten here. */
  acknowledge(positions: readonly number[]): Promise<void>;
  outboxStatus(): Promise<OutboxStatus>;
  /** An item that is refused stands in the way of no other; nothing of it is lost. */
  setAside(position: number, code: string): Promise<void>;
  setAsideStatus(): Promise<SetAside>;
  /** What was set aside is to be delivered again. */
  putBack(): Promise<void>;
  diskStatus(): Promise<DiskStatus>;
}

export interface Holder {
  /** Names the gateway, and the database in which it keeps what it signs for. */
  readonly name: Uint8Array;
  /** Of the entries that are held by it, the backend has all up to this sequence. */
  readonly storedThrough: number;
}

export interface MeterStore extends Outbox {
  /** Persistent state of a group's ring member, by gid. */
  loadMember(gid: Uint8Array): Promise<Uint8Array | undefined>;
  saveMember(gid: Uint8Array, state: Uint8Array): Promise<void>;
  groups(): Promise<readonly Uint8Array[]>;

  /** The newest membership bundle of a group. */
  loadMembership(gid: Uint8Array): Promise<Uint8Array | undefined>;
  /** The list and the member state that goes with it, together. */
  saveMembership(gid: Uint8Array, bundle: Uint8Array, member: Uint8Array): Promise<void>;

  /** State of the meter's chain: reading key, next sequence, hash of the last entry. */
  loadSealing(): Promise<Uint8Array | undefined>;
  /** The new state of the sealing together with what it sealed or granted: all or nothing. */
  saveSealing(sealing: Uint8Array, items: readonly NewItem[], nowS: number): Promise<void>;

  /**
   * A gateway has these durably: they leave the outbox and are held here until it says that the backend has them. What it
   * has said so of is forgotten. What another holder has signed for goes back into the outbox, for it is this one now that
   * brings it to the backend. What is held gives way where there is no room for new readings.
   */
  hold(positions: readonly number[], holder: Holder): Promise<void>;
  /** Items that are held. */
  heldCount(): Promise<number>;

  /** What was done of operators' commands, and what they changed. */
  loadObeying(): Promise<Uint8Array | undefined>;
  saveObeying(state: Uint8Array): Promise<void>;

  /** Where the gateway is, if it has moved. */
  loadHome(): Promise<Uint8Array | undefined>;
  saveHome(home: Uint8Array): Promise<void>;
}

/** An entry of a meter's chain, with the coordinates that make storing it idempotent. */
export interface StoredEntry {
  readonly kind: EntryKind;
  readonly meter: Uint8Array;
  readonly sequence: number;
  readonly gid: Uint8Array;
  readonly epoch: number;
  readonly attempt: number;
  readonly hash: Uint8Array;
  readonly previousHash: Uint8Array;
  readonly message: Uint8Array;
}

export interface StoredGrant {
  readonly kind: 'grant';
  readonly meter: Uint8Array;
  readonly reader: Uint8Array;
  readonly gid: Uint8Array;
  readonly epoch: number;
  readonly attempt: number;
  /** H(rk, key): names the reading key that is granted. */
  readonly keyHash: Uint8Array;
  readonly message: Uint8Array;
}

/** An item of an upload. */
export type StoredItem = StoredEntry | StoredGrant;

export interface EnrolledMeter {
  readonly certHash: Uint8Array;
  /** `urn:gridring:meter:…` */
  readonly id: string;
  /** Leaf first, DER. */
  readonly certificates: readonly Uint8Array[];
  readonly td: string;
  /** When the meter signed it, Unix seconds. */
  readonly enrolledS: number;
}

/** The record of an epoch, and what has come of it. */
export interface AgreedEpoch {
  readonly gid: Uint8Array;
  readonly epoch: number;
  readonly attempt: number;
  readonly listHash: Uint8Array;
  readonly record: Uint8Array;
  /** Unix seconds. */
  readonly agreedS: number;
  /** The backend's, with its certificates; null until it has verified the record. */
  readonly endorsement: Uint8Array | null;
}

/** A list of a group, and the last epoch while it was in force; null before the first. */
export interface KeptList {
  readonly bundle: Uint8Array;
  readonly lastEpoch: { readonly epoch: number; readonly attempt: number } | null;
}

/** A member that stands in the list and in no roster: it left, or an operator revoked it. */
export interface Departure {
  readonly gid: Uint8Array;
  readonly certHash: Uint8Array;
  readonly kind: 'left' | 'revoked';
  /** When the request was signed, Unix seconds. */
  readonly signedS: number;
}

/** Who spoilt an attempt, with the proof: `message` is for `verifyVerdict`. */
export interface KeptVerdict {
  readonly gid: Uint8Array;
  readonly epoch: number;
  readonly attempt: number;
  /** Unix seconds. */
  readonly judgedS: number;
  readonly message: Uint8Array;
}

/** What a gateway keeps of each group that it coordinates. */
export interface GroupStore {
  loadMembership(gid: Uint8Array): Promise<Uint8Array | undefined>;
  /**
   * Keeps the newest by `compareLists`; of two of the same order, the later call's. Those before it are kept too, the
   * last 16, for what was sealed under them.
   */
  saveMembership(gid: Uint8Array, order: ListOrder, listHash: Uint8Array, bundle: Uint8Array): Promise<void>;
  /** The newest first. */
  lists(gid: Uint8Array): Promise<readonly KeptList[]>;

  /** The highest (epoch, attempt) that was ever announced; saved before the announcement leaves. */
  loadAnnounced(gid: Uint8Array): Promise<{ readonly epoch: number; readonly attempt: number } | undefined>;
  /** By compare-and-swap. @returns false when this or a higher one was announced before: nothing has changed then */
  saveAnnounced(gid: Uint8Array, epoch: number, attempt: number): Promise<boolean>;

  /** A finished epoch's record, and its delivery to the backend. */
  saveRecord(epoch: Omit<AgreedEpoch, 'endorsement'>): Promise<void>;
  /** In the order of epochs; without those that the backend has refused for good. */
  unreportedRecords(): Promise<readonly AgreedEpoch[]>;
  /** Forgets what the backend has, but for the newest record of the group, with the backend's word for it if it gave one. */
  markReported(gid: Uint8Array, epoch: number, attempt: number, endorsement: Uint8Array | null): Promise<void>;
  /** The backend refuses the record for good: it is set aside, and stands in the way of nothing. */
  setRecordAside(gid: Uint8Array, epoch: number, attempt: number, code: string): Promise<void>;
  latestRecord(gid: Uint8Array): Promise<AgreedEpoch | undefined>;

  /** A later one of the same member takes the place of the earlier; an operator's never gives way to the member's own. */
  saveDeparture(departure: Departure): Promise<void>;
  departures(gid: Uint8Array): Promise<readonly Departure[]>;
  forgetDeparture(gid: Uint8Array, certHash: Uint8Array): Promise<void>;

  /** The newest 16 of all groups are kept. */
  saveVerdict(verdict: KeptVerdict): Promise<void>;
  /** The newest first. */
  verdicts(): Promise<readonly KeptVerdict[]>;

  loadQuarantine(gid: Uint8Array): Promise<Uint8Array | undefined>;
  saveQuarantine(gid: Uint8Array, state: Uint8Array): Promise<void>;
}

export interface GatewayStore extends Outbox, GroupStore {
  readonly commands: CommandStore;
  /** 16 random bytes, made with the database. */
  custodian(): Promise<Uint8Array>;
  /** Of the entries that a meter sealed with any of its certificates and that were accepted here, the backend has all up to this sequence. */
  storedThrough(line: readonly Uint8Array[]): Promise<number>;
  /** A newer enrolment of a meter takes the place of the older, and brings it back into groups that it had left before. */
  saveEnrolment(meter: EnrolledMeter): Promise<void>;
  enrolments(): Promise<readonly EnrolledMeter[]>;

  /**
   * Takes verified items into the outbox, once each: an item that is already known (also after it was acknowledged) is
   * passed over. All or nothing.
   * @throws ConflictError `sequence-conflict` when a sequence is known with another hash, `chain-broken` when the
   * stored predecessor (sequence − 1) has another hash than `previousHash`
   */
  accept(items: readonly StoredItem[], nowS: number): Promise<{ readonly fresh: number }>;
}

export interface EpochRow {
  readonly gid: Uint8Array;
  readonly epoch: number;
  readonly attempt: number;
  readonly th2: Uint8Array;
  readonly listHash: Uint8Array;
  readonly listVersion: number;
  readonly listRevision: number;
  readonly members: number;
  readonly reason: string;
  readonly recordedS: number;
}

export type EpochPlace = Pick<EpochRow, 'epoch' | 'attempt'>;

/** A grant of a meter to a reader, without its contents. */
export interface GrantedEpoch extends EpochPlace {
  /** Ascending; grants that come at the same time may be numbered in another order. */
  readonly position: number;
  readonly meter: Uint8Array;
  readonly gid: Uint8Array;
  readonly receivedS: number;
}

/** The record of an epoch, and the bundle by which the backend endorses it. */
export interface EndorsedRecord {
  readonly record: Uint8Array;
  readonly endorsement: Uint8Array;
}

/** What is kept of an epoch that was recorded; the endorsement is null where an earlier version recorded it. */
export interface StoredRecord {
  readonly record: Uint8Array;
  readonly endorsement: Uint8Array | null;
  readonly listHash: Uint8Array;
}

/** A membership list, without its contents. */
export interface ListRow extends ListOrder {
  readonly listHash: Uint8Array;
  /** When it was first brought here. */
  readonly publishedS: number;
}

export interface EntryRow {
  readonly kind: EntryKind;
  readonly meter: Uint8Array;
  readonly sequence: number;
  readonly epoch: number;
  readonly attempt: number;
  readonly receivedS: number;
  readonly message: Uint8Array;
}

/**
 * Entries of a meter's chain that were kept, and then given up because they were old enough: consecutive sequences, with
 * what chains them to their neighbours. They are known and not lost; nobody can give them any more.
 */
export interface DroppedStretch {
  readonly first: number;
  readonly last: number;
  /** That the first of them gives for the entry before it. */
  readonly previousHash: Uint8Array;
  /** Of the last of them. */
  readonly hash: Uint8Array;
}

export interface BackendStore {
  /**
   * Takes a list if all of the group come before it; entries of the audit log go with one that was not known.
   * @returns whether it is now the newest
   */
  saveMembership(gid: Uint8Array, list: ListRow, bundle: Uint8Array, audit?: readonly AuditFacts[]): Promise<boolean>;
  loadMembership(gid: Uint8Array): Promise<Uint8Array | undefined>;
  membershipByHash(listHash: Uint8Array): Promise<Uint8Array | undefined>;
  /** Of a group, the newest first. */
  membershipLists(gid: Uint8Array): Promise<readonly ListRow[]>;
  groups(): Promise<readonly Uint8Array[]>;

  /**
   * By compare-and-swap: one record for each (epoch, attempt) of a group, in whatever order they come, if the lists ascend
   * with the epochs. The same epoch again (by its th2) changes nothing. Entries of the audit log go with a new one.
   * @returns the endorsement that is stored, and whether it is so only now
   * @throws ConflictError `epoch-stale` where another record is there, `membership-rollback`
   */
  saveEpoch(
    row: EpochRow,
    endorsed: EndorsedRecord,
    audit?: readonly AuditFacts[],
  ): Promise<{ readonly endorsement: Uint8Array; readonly fresh: boolean }>;
  /** The newest first; or of those that come before one. */
  epochs(gid: Uint8Array, limit: number, before?: EpochPlace): Promise<readonly EpochRow[]>;
  loadEpoch(gid: Uint8Array, epoch: number, attempt: number): Promise<StoredRecord | undefined>;

  /** As `GatewayStore.accept`, keeping every item. */
  accept(items: readonly StoredItem[], nowS: number): Promise<{ readonly fresh: number }>;
  /** Entries of a meter's chain, or those of one kind: ascending by sequence, after `afterSequence`. */
  entries(
    meter: Uint8Array,
    afterSequence: number,
    limit: number,
    kind?: EntryKind | 'any',
  ): Promise<readonly EntryRow[]>;
  /** The last `limit` of them up to a sequence, ascending by sequence. */
  lastEntries(meter: Uint8Array, limit: number, kind?: EntryKind | 'any', upTo?: number): Promise<readonly EntryRow[]>;
  /**
   * Of each meter that has entries, or of those that are named: how many are readings, and the sequence of the last entry.
   * Ascending by meter.
   */
  readingCounts(
    meters?: readonly Uint8Array[],
  ): Promise<readonly { readonly meter: Uint8Array; readonly count: number; readonly lastSequence: number }[]>;
  /**
   * Gives up some of the entries that were received in weeks before that of `beforeS`; the weeks begin on Thursdays, with
   * Unix time. An upload that has them again is told that they are known.
   * @returns how many; 0 when none is left, or another process is at it
   */
  dropOldEntries(beforeS: number): Promise<number>;
  /** What was given up of a meter, ascending. */
  droppedEntries(meter: Uint8Array): Promise<readonly DroppedStretch[]>;
  /** Of which epochs a reader was granted the readings of which meters, or of these: in the order in which the grants came. */
  grantedEpochs(
    reader: Uint8Array,
    afterPosition: number,
    limit: number,
    meters?: readonly Uint8Array[],
  ): Promise<readonly GrantedEpoch[]>;
  /** Grants of a meter to a reader, newest last. */
  grants(meter: Uint8Array, reader: Uint8Array): Promise<readonly Uint8Array[]>;
}

export interface EventPositions {
  readonly epochs: number;
  readonly lists: number;
}

export interface RecordedEpoch extends EpochRow {
  readonly position: number;
}

export interface PublishedList extends ListRow {
  readonly position: number;
  readonly gid: Uint8Array;
}

/**
 * The outbox of the backend's events: which epochs were recorded and which lists published, numbered from 1 within each,
 * in the order of the commits. An event is there if and only if what it tells of is.
 */
export interface BackendEvents {
  /** Random, of this database: positions of another mean nothing here. */
  readonly life: string;
  /** Of the newest events; 0 where there is none. */
  positions(): Promise<EventPositions>;
  /** Ascending, at most `limit` after the position. The oldest are forgotten: then the first does not follow it. */
  epochsAfter(position: number, limit: number): Promise<readonly RecordedEpoch[]>;
  listsAfter(position: number, limit: number): Promise<readonly PublishedList[]>;
  /** Calls when there may be more: sometimes in vain, and not always when there is. @returns how to end it */
  onWake(wake: () => void): () => void;
}

export interface AuditFilter {
  readonly actor?: string;
  readonly action?: string;
  readonly subject?: string;
  readonly outcome?: AuditOutcome;
  /** Unix seconds, both included. */
  readonly sinceS?: number;
  readonly untilS?: number;
}

export interface AuditHead extends AuditPlace {
  /** The newest; null before the first. */
  readonly checkpoint: { readonly number: number; readonly sequence: number } | null;
}

/**
 * The audit log, a hash chain: entries come one after another, whichever process writes them. An entry that belongs to a
 * change is given to the method that makes the change, which appends it in the same transaction and as its last step.
 */
export interface AuditStore {
  /** 16 random bytes, made with the database. */
  readonly log: Uint8Array;
  append(facts: AuditFacts): Promise<AuditEntry>;
  head(): Promise<AuditHead>;
  /** Ascending by sequence, after `afterSequence`. */
  entries(afterSequence: number, limit: number, filter?: AuditFilter): Promise<readonly AuditEntry[]>;
  /** The last `limit` of them, ascending by sequence. */
  lastEntries(limit: number, filter?: AuditFilter): Promise<readonly AuditEntry[]>;
  /** @returns false when the number is taken: another process was first */
  saveCheckpoint(checkpoint: AuditCheckpointRow): Promise<boolean>;
  /** Ascending by number, after `afterNumber`. */
  checkpoints(afterNumber: number, limit: number): Promise<readonly AuditCheckpointRow[]>;
  /**
   * Gives up entries older than a time, up to a checkpoint, which stays: it closes what was given up.
   * @returns how many
   */
  dropOld(beforeS: number): Promise<number>;
}

export interface AuditCheckpointRow {
  readonly number: number;
  /** Of the last entry that it tells of. */
  readonly sequence: number;
  /** As `signAuditCheckpoint` makes it. */
  readonly message: Uint8Array;
}

export interface DirectoryEntry {
  readonly id: string;
  /** The registered TD, as JSON text, without registration information. */
  readonly td: string;
  readonly createdS: number;
  readonly modifiedS: number;
  /** Seconds the registration lasts from `modifiedS`; null where none were given. */
  readonly ttlS: number | null;
  /** Where there is no ttl: when it ends, Unix seconds; null for never. */
  readonly expiresS: number | null;
  /** Who registered it (a certificate's URN); only the same may change it. */
  readonly owner: string;
  /** Position of its last event. */
  readonly revision: number;
}

/** What becomes of an entry: its id stays, and the time of its creation. */
export interface EntryContent extends Omit<DirectoryEntry, 'id' | 'createdS' | 'revision'> {
  /** When the device signed it that the entry is of, Unix seconds; left out where nobody did. */
  readonly serial?: number;
}

export interface DirectoryEvent {
  readonly position: number;
  readonly kind: 'created' | 'updated' | 'deleted';
  readonly id: string;
  /** Of an update: a merge patch (RFC 7396) as JSON text, where it was kept. */
  readonly change: string | null;
}

/** Entries, and beside them the events that tell of their changes: numbered in the order of the commits. */
export interface DirectoryStore {
  /**
   * Makes what `step` says of the entry, or of nothing, while nobody else changes it. `step` may be called more than once,
   * with the last serial of that id, whether the entry is still there or not; null where there was none.
   * @throws what `step` throws; then nothing has changed
   */
  changeEntry(
    id: string,
    step: (known: DirectoryEntry | undefined, serial: number | null) => EntryContent,
  ): Promise<'created' | 'replaced'>;
  entry(id: string): Promise<DirectoryEntry | undefined>;
  /** @throws what `admit` throws at the entry; then it stays. @returns whether there was one */
  deleteEntry(id: string, admit: (known: DirectoryEntry) => void): Promise<boolean>;
  /** Ascending by id, after one that need not be there itself; of the ids where any are given. */
  entriesAfter(id: string, limit: number, ids?: readonly string[]): Promise<readonly DirectoryEntry[]>;
  /** Ascending by id; of the ids where any are given. What is skipped is counted, not read. */
  listEntries(
    offset: number,
    limit: number,
    ids?: readonly string[],
  ): Promise<{ readonly entries: readonly DirectoryEntry[]; readonly total: number }>;
  /** Removes what has expired. @returns the ids */
  purgeExpired(nowS: number): Promise<readonly string[]>;
  /** Random, of this database: positions of another mean nothing here. */
  readonly life: string;
  /** Of the newest event: another one whenever entries have come, gone or changed. */
  position(): Promise<number>;
  /** Ascending, at most `limit` after the position. The oldest are forgotten: then the first does not follow it. */
  eventsAfter(position: number, limit: number): Promise<readonly DirectoryEvent[]>;
}

/** A person, as an issuer names it: `subject` is the issuer's name for it, never to be given to another. */
export interface Account {
  /** A random UUID. */
  readonly id: string;
  /** URL of the issuer; `embedded` for the one of this deployment, where the subject is the id. */
  readonly issuer: string;
  readonly subject: string;
  readonly name: string;
  /** Those of `personRoles`. */
  readonly roles: readonly string[];
  /** Those of a household: `urn:gridring:meter:<id>`. */
  readonly meters: readonly string[];
  /** Certificates that the person holds the keys of. */
  readonly certHashes: readonly Uint8Array[];
  readonly disabled: boolean;
  /** Tokens that were issued before are refused, Unix seconds. */
  readonly sessionsFromS: number;
  /** 1 at first, and one more with each change. */
  readonly revision: number;
  readonly createdS: number;
  readonly modifiedS: number;
}

/** Accounts, and what ends sessions. Every change wakes who listens to `BackendEvents.onWake`, in all processes. */
export interface AccountsStore {
  /**
   * With what it logs in by, where that is given.
   * @throws ConflictError `account-exists` for the issuer's subject, `certificate-enrolled` with another account,
   * `username-taken`; nothing is made then
   */
  createAccount(
    account: Account,
    more?: { readonly login?: Login; readonly audit?: readonly AuditFacts[] },
  ): Promise<void>;
  /**
   * Takes the place of the account of this id and the revision before; `endsSessions`: what the embedded issuer keeps of
   * it ends with that. @returns false where that has another one, and nothing changes
   * @throws ConflictError `certificate-enrolled`
   */
  replaceAccount(
    account: Account,
    more?: { readonly endsSessions?: boolean; readonly audit?: readonly AuditFacts[] },
  ): Promise<boolean>;
  account(id: string): Promise<Account | undefined>;
  accountOf(issuer: string, subject: string): Promise<Account | undefined>;
  accountWith(certHash: Uint8Array): Promise<Account | undefined>;
  /** Ascending by id, after `afterId`; at first after ''. */
  accounts(afterId: string, limit: number): Promise<readonly Account[]>;
  /** Refuses a token until it ends by itself. */
  revokeToken(issuer: string, tokenId: string, expiresS: number, audit?: readonly AuditFacts[]): Promise<void>;
  isRevoked(issuer: string, tokenId: string): Promise<boolean>;
  /** Another number after every change of what stands above. */
  accessRevision(): Promise<number>;
  /**
   * Remembers a proof of possession (RFC 9449 §11.1) by its hash, over all processes. @returns false where it was there.
   * A loss of power may undo the last ones.
   */
  takeProof(proof: Uint8Array, expiresS: number): Promise<boolean>;
  /** Forgets proofs and revoked tokens that have expired. */
  purgeAccess(nowS: number): Promise<void>;
}
