/** What is printed: tables of plain text, under the machine that the numbers are of. */
import { cpus, loadavg } from 'node:os';
import type { CheckRow, RequestRow } from './auth.js';
import type { EpochBytesRow, ReadingBytesRow } from './bytes.js';
import type { ChurnRow } from './churn.js';
import type { FoundingRow } from './founding.js';
import type { IngestRow } from './ingest/measure.js';
import type { DirectoryRow } from './directory.js';
import type { MetersRow } from './meters.js';
import type { PeerRow } from './peers/measure.js';
import type { Event } from './peers/peer.js';
import type { ProfileRow } from './profiles.js';
import type { RingRow } from './ring.js';
import type { Interval } from './statistics.js';

export interface Machine {
  readonly date: string;
  readonly cpu: string;
  readonly cores: number;
  readonly platform: string;
  readonly node: string;
  readonly openssl: string;
  /** Mean number of running or waiting processes in the minute before the start. */
  readonly load: number;
}

export function thisMachine(): Machine {
  const all = cpus();
  return {
    date: new Date().toISOString(),
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    platform: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    openssl: process.versions.openssl,
    load: loadavg()[0] ?? 0,
  };
}

export const machineLine = ({ date, cpu, cores, platform, node, openssl, load }: Machine): string =>
  `${date}, ${cpu}, ${cores} cores, ${platform}, Node ${node}, OpenSSL ${openssl}, load ${load.toFixed(1)}`;

interface Column<Row> {
  readonly title: string;
  readonly cell: (row: Row) => string;
  /** Text; the first column is, and numbers stand at the right. */
  readonly left?: boolean;
}

function table<Row>(title: string, columns: readonly Column<Row>[], rows: readonly Row[]): string {
  const lines = [columns.map(({ title }) => title), ...rows.map((row) => columns.map(({ cell }) => cell(row)))];
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i]?.length ?? 0)));
  const pad = (text: string, i: number): string =>
    i === 0 || columns[i]?.left ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0);
  return [title, '', ...lines.map((line) => line.map(pad).join('  ').trimEnd())].join('\n');
}

const column = <Row>(title: string, value: (row: Row) => number | string, digits = 0): Column<Row> => ({
  title,
  cell: (row) => {
    const found = value(row);
    return typeof found === 'string' ? found : found.toFixed(digits);
  },
});

const rangeOf = (interval: Interval | null): string =>
  interval ? `${interval.low.toFixed(0)}–${interval.high.toFixed(0)}` : '';

const ringColumns = [
  column<RingRow>('suite', (row) => row.suite),
  column<RingRow>('n', (row) => row.members),
  column<RingRow>('epochs', (row) => row.epochs),
  column<RingRow>('member', (row) => row.memberUs),
  column<RingRow>('native', (row) => row.nativeUs),
  column<RingRow>('ratio', (row) => row.ratio, 2),
  column<RingRow>('native, fresh keys', (row) => row.nativeFreshKeysUs),
  column<RingRow>('ratio', (row) => row.ratioFreshKeys, 2),
  column<RingRow>('coordinator', (row) => row.coordinatorUs),
  column<RingRow>('verify record', (row) => row.verifyRecordUs),
];

const share = (title: string, value: (shares: RingRow['shares']) => number): Column<RingRow> =>
  column<RingRow>(title, (row) => 100 * value(row.shares));

const shareColumns = [
  column<RingRow>('suite', (row) => row.suite),
  column<RingRow>('n', (row) => row.members),
  share('public key', (shares) => shares.publicKey),
  share('hashes and MACs', (shares) => shares.hashing),
  share('CBOR', (shares) => shares.cbor),
  share('COSE', (shares) => shares.cose),
  share('rest of the ring', (shares) => shares.other),
  share('garbage', (shares) => shares.garbage),
];

const foundingColumns = [
  column<FoundingRow>('suite', (row) => row.suite),
  column<FoundingRow>('n', (row) => row.members),
  column<FoundingRow>('network', (row) => row.network),
  column<FoundingRow>('store', (row) => row.store),
  column<FoundingRow>('runs', (row) => row.runs),
  column<FoundingRow>('attempts', (row) => row.attempts),
  column<FoundingRow>('first', (row) => row.firstMs),
  column<FoundingRow>('minimum', (row) => row.minMs),
  column<FoundingRow>('median', (row) => row.medianMs),
  column<FoundingRow>('its 95 % interval', (row) => rangeOf(row.medianIntervalMs)),
  column<FoundingRow>('95 % of runs', (row) => row.p95Ms),
  column<FoundingRow>('processor', (row) => row.cpuMs ?? ''),
  column<FoundingRow>('paper', (row) => row.paperMs ?? ''),
  column<FoundingRow>('median / paper', (row) => row.toPaper?.toFixed(2) ?? ''),
];

const profileColumns = [
  column<ProfileRow>('suite', (row) => row.suite),
  column<ProfileRow>('profile', (row) => row.profile),
  column<ProfileRow>('n', (row) => row.members),
  column<ProfileRow>('key pairs', (row) => row.keyPairs),
  column<ProfileRow>('agreements', (row) => row.agreements),
  column<ProfileRow>('signatures', (row) => row.signatures),
  column<ProfileRow>('verifications', (row) => row.verifications),
  column<ProfileRow>('member', (row) => row.memberUs),
];

const churnColumns = [
  column<ChurnRow>('suite', (row) => row.suite),
  column<ChurnRow>('n', (row) => row.members),
  column<ChurnRow>('store', (row) => row.store),
  column<ChurnRow>('change', (row) => row.change),
  column<ChurnRow>('changes', (row) => row.changes),
  column<ChurnRow>('a minute', (row) => row.perMinute),
  column<ChurnRow>('median, ms', (row) => row.medianMs),
  column<ChurnRow>('its 95 % interval', (row) => rangeOf(row.medianIntervalMs)),
  column<ChurnRow>('slowest', (row) => row.slowestMs),
  column<ChurnRow>('processor, ms', (row) => row.cpuMs),
  column<ChurnRow>('sent, B', (row) => row.sentBytes),
  column<ChurnRow>('received, B', (row) => row.receivedBytes),
  column<ChurnRow>('datagrams', (row) => row.datagrams),
];

const events = ['create', 'remove', 'add'] as const;

const peerColumns = (cells: (event: Event) => readonly Column<PeerRow>[]): readonly Column<PeerRow>[] => [
  column<PeerRow>('suite', (row) => row.suite),
  column<PeerRow>('n', (row) => row.members),
  { title: 'protocol', cell: (row) => row.protocol, left: true },
  column<PeerRow>('contributory', (row) => (row.contributory ? 'yes' : 'no')),
  ...events.flatMap(cells),
];

const messageColumns = [
  column<EpochBytesRow>('suite', (row) => row.suite),
  column<EpochBytesRow>('n', (row) => row.members),
  column<EpochBytesRow>('announcement', (row) => row.announcement),
  column<EpochBytesRow>('share', (row) => row.share),
  column<EpochBytesRow>('token', (row) => row.token),
  column<EpochBytesRow>('confirmation', (row) => row.confirmation),
  column<EpochBytesRow>('roster bundle', (row) => row.rosterBundle),
  column<EpochBytesRow>('token bundle', (row) => row.tokenBundle),
  column<EpochBytesRow>('confirmation bundle', (row) => row.confirmationBundle),
];

const totalColumns = [
  column<EpochBytesRow>('suite', (row) => row.suite),
  column<EpochBytesRow>('n', (row) => row.members),
  column<EpochBytesRow>('sent', (row) => row.sent),
  column<EpochBytesRow>('received', (row) => row.received),
  column<EpochBytesRow>('record', (row) => row.record),
  column<EpochBytesRow>('membership list', (row) => row.membership),
  column<EpochBytesRow>('state', (row) => row.state),
  column<EpochBytesRow>('rekeying', (row) => row.stateRekeying),
];

const readingColumns = [
  column<ReadingBytesRow>('suite', (row) => row.suite),
  column<ReadingBytesRow>('readings', (row) => row.readings),
  column<ReadingBytesRow>('SenML, median', (row) => row.senmlMedian),
  column<ReadingBytesRow>('envelope, median', (row) => row.envelopeMedian),
  column<ReadingBytesRow>('largest', (row) => row.envelopeMax),
  column<ReadingBytesRow>('grant to one reader', (row) => row.grant),
];

const ingestColumns = [
  column<IngestRow>('suite', (row) => row.suite),
  column<IngestRow>('database', (row) => row.database),
  column<IngestRow>('backends', (row) => row.backends),
  column<IngestRow>('batch', (row) => row.batch),
  column<IngestRow>('readings', (row) => row.readings),
  column<IngestRow>('a second', (row) => row.perSecond),
  column<IngestRow>('p50, ms', (row) => row.p50Ms, 1),
  column<IngestRow>('p99, ms', (row) => row.p99Ms, 1),
  column<IngestRow>('processor, µs', (row) => row.cpuUs),
  column<IngestRow>('memory, MiB', (row) => row.rssMb),
  column<IngestRow>('raw inserts a second', (row) => row.rawPerSecond),
  column<IngestRow>('ratio', (row) => row.toRaw, 2),
  column<IngestRow>('verifications a second', (row) => row.verifiedPerSecond),
  column<IngestRow>('ratio', (row) => row.toVerified, 2),
];

export const ringTables = (rows: readonly RingRow[]): string =>
  [
    table('Ring: processor time of one agreement, in µs', ringColumns, rows),
    table("Ring: where a member's time goes, in %", shareColumns, rows),
  ].join('\n\n');

export const foundingTable = (rows: readonly FoundingRow[]): string =>
  table('Founding: wall time over CoAP, in ms', foundingColumns, rows);

export const profileTable = (rows: readonly ProfileRow[]): string =>
  table(
    'Profiles: public-key operations of one member in one agreement, and its processor time in µs',
    profileColumns,
    rows,
  );

export const churnTable = (rows: readonly ChurnRow[]): string =>
  table(
    'Churn: one member leaves or joins, from the new list at the gateway to the last key, over loopback CoAP',
    churnColumns,
    rows,
  );

export const peerTables = (rows: readonly PeerRow[]): string =>
  [
    table(
      'Churn: processor time of the whole group for one event in ms, and as a multiple of the ring',
      peerColumns((event) => [
        column<PeerRow>(event, (row) => row[event].cpuMs, 1),
        column<PeerRow>('ratio', (row) => row[event].toRing, 2),
      ]),
      rows,
    ),
    table(
      'Churn: bytes of messages that a member sends and receives in one event',
      peerColumns((event) => [column<PeerRow>(event, (row) => row[event].bytesPerMember)]),
      rows,
    ),
  ].join('\n\n');

export const epochBytesTables = (rows: readonly EpochBytesRow[]): string =>
  [
    table('Bytes: messages of one agreement', messageColumns, rows),
    table('Bytes: all that one member sends and receives, and what is kept', totalColumns, rows),
  ].join('\n\n');

export const readingBytesTable = (rows: readonly ReadingBytesRow[]): string =>
  table('Bytes: sealed readings of one minute each', readingColumns, rows);

export const ingestTable = (rows: readonly IngestRow[]): string =>
  table('Ingest: sealed readings, verified and stored by a backend over REST', ingestColumns, rows);

const metersColumns: readonly Column<MetersRow>[] = [
  column<MetersRow>('suite', (row) => row.suite),
  column<MetersRow>('database', (row) => row.database),
  column<MetersRow>('meters', (row) => row.meters),
  column<MetersRow>('groups', (row) => row.groups),
  column<MetersRow>('request', (row) => row.request),
  column<MetersRow>('requests', (row) => row.requests),
  column<MetersRow>('p50, ms', (row) => row.p50Ms, 1),
  column<MetersRow>('p99, ms', (row) => row.p99Ms, 1),
  column<MetersRow>('last pages p50, ms', (row) => row.lastP50Ms, 1),
  column<MetersRow>('memory, MiB', (row) => row.rssMb),
];

export const metersTable = (rows: readonly MetersRow[]): string =>
  table('Meters: what a backend with many meters answers over REST, one request after the other', metersColumns, rows);

const orNone = (value: number | null, digits: number): string => (value === null ? '' : value.toFixed(digits));

const directoryColumns: readonly Column<DirectoryRow>[] = [
  column<DirectoryRow>('database', (row) => row.database),
  column<DirectoryRow>('things', (row) => row.things),
  column<DirectoryRow>('request', (row) => row.request),
  column<DirectoryRow>('requests', (row) => row.requests),
  column<DirectoryRow>('p50, ms', (row) => row.p50Ms, 2),
  column<DirectoryRow>('p99, ms', (row) => row.p99Ms, 1),
  column<DirectoryRow>('native p50, ms', (row) => orNone(row.nativeP50Ms, 2)),
  column<DirectoryRow>('ratio', (row) => orNone(row.toNative, 1)),
  column<DirectoryRow>('memory, MiB', (row) => row.rssMb),
];

export const directoryTable = (rows: readonly DirectoryRow[]): string =>
  table('Directory: one request after the other, in turns with the native limit', directoryColumns, rows);

const checksColumns: readonly Column<CheckRow>[] = [
  column<CheckRow>('check', (row) => row.check),
  column<CheckRow>('count', (row) => row.count),
  column<CheckRow>('p50, ms', (row) => row.p50Ms, 3),
  column<CheckRow>('p99, ms', (row) => row.p99Ms, 3),
];

export const checksTable = (rows: readonly CheckRow[]): string =>
  table('Checks: who calls, in one process, one after the other', checksColumns, rows);

const requestsColumns: readonly Column<RequestRow>[] = [
  column<RequestRow>('request', (row) => row.request),
  column<RequestRow>('count', (row) => row.count),
  column<RequestRow>('a second', (row) => row.perSecond),
  column<RequestRow>('ratio', (row) => row.ratio, 2),
];

export const requestsTable = (rows: readonly RequestRow[]): string =>
  table('Requests: client and server in one process, over eight connections', requestsColumns, rows);
