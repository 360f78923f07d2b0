/** The command line of `npm run bench`: measures on this machine and prints what docs/performance.md explains. */
import { Argument, Command, InvalidArgumentError } from 'commander';
import { GridringError } from '../crypto/errors.js';
import { limits } from '../crypto/limits.js';
import type { Suite } from '../crypto/suite.js';
import { suiteByName } from '../crypto/suite-node.js';
import { measureAuth } from './auth.js';
import { measureEpochBytes, measureReadingBytes } from './bytes.js';
import { measureChurn } from './churn.js';
import { measureDirectory } from './directory.js';
import { measureIngest, type DatabaseKind, type IngestRow } from './ingest/measure.js';
import { measureFounding, type FoundingRow } from './founding.js';
import { measureMeters } from './meters.js';
import type { Network, StoreKind } from './neighbourhood.js';
import { measurePeers } from './peers/measure.js';
import { measureProfiles } from './profiles.js';
import {
  checksTable,
  churnTable,
  directoryTable,
  epochBytesTables,
  ingestTable,
  foundingTable,
  machineLine,
  metersTable,
  peerTables,
  profileTable,
  readingBytesTable,
  requestsTable,
  ringTables,
  thisMachine,
} from './report.js';
import { measureRing } from './ring.js';

/** Measured where nothing is named. */
const agreements = ['ring', 'founding', 'churn', 'bytes'] as const;
const subjects = [...agreements, 'ingest', 'meters', 'directory', 'auth'] as const;
type Subject = (typeof subjects)[number];

interface Options {
  readonly n?: readonly number[];
  readonly suite: readonly Suite[];
  readonly blocks?: number;
  readonly runs?: number;
  readonly networks?: readonly Network[];
  readonly pairs?: number;
  readonly peerRuns?: number;
  readonly readings?: number;
  readonly meters: number;
  readonly things: number;
  readonly requests: number;
  readonly batches: readonly number[];
  readonly connections: number;
  readonly databases: readonly DatabaseKind[];
  readonly json?: true;
}

/** How often each thing is measured where the options do not say: all subjects together stay below two minutes. */
const repeats = {
  one: { blocks: 9, runs: 20, networks: ['loopback', 'impaired'], pairs: 10, peerRuns: 5 },
  all: { blocks: 3, runs: 6, networks: ['loopback'], pairs: 3, peerRuns: 1 },
} as const;

/** Numbers of members of each measurement, where the options do not say. */
const sizes = {
  ring: [3, 10, 25, 32],
  profiles: [10, 32, 64],
  founding: [3, 10, 15, 25, 32],
  churn: [32],
  peers: [10, 30],
  bytes: [3, 10, 25, 32],
} as const;

const stores: readonly StoreKind[] = ['memory', 'sqlite'];

/** Runs the benchmarks that `args` ask for, and writes tables as they are finished, or one JSON object. */
export async function runBench(args: readonly string[], write: (text: string) => void): Promise<void> {
  const command = new Command('bench')
    .description(
      'Measures agreements: processor time, wall time over CoAP, changes of members, and sizes of messages; ' +
        'and by their names how fast a backend takes readings, lists many meters, is a directory, and knows who calls.',
    )
    .addArgument(new Argument('[subject]', `measure only this; default: ${agreements.join(', ')}`).choices(subjects))
    .option('--n <sizes>', 'numbers of members, comma-separated', parseSizes)
    .option('--suite <names>', 'suites, comma-separated', parseSuites, parseSuites('x25519,p256'))
    .option('--blocks <count>', 'ring: measured blocks of about 96 members', parseCount)
    .option('--runs <count>', 'founding: measured agreements', parseCount)
    .option('--networks <names>', 'founding: loopback, impaired (50 ms, 5 % loss each way)', parseNetworks)
    .option('--pairs <count>', 'churn: measured leaves, and as many joins', parseCount)
    .option('--peer-runs <count>', 'churn: measured groups of each protocol', parseCount)
    .option('--readings <count>', 'ingest: readings of each row; a million shows whether memory grows', parseCount)
    .option(
      '--batches <sizes>',
      'ingest: readings in an upload, comma-separated',
      parseBatches,
      parseBatches('1,10,100'),
    )
    .option('--meters <count>', 'meters: in groups of 63', parseCount, 10_000)
    .option('--things <count>', 'directory: registered before', parseCount, 10_000)
    .option(
      '--databases <names>',
      'ingest, meters, directory: sqlite, postgres',
      parseDatabases,
      parseDatabases('sqlite,postgres'),
    )
    .option('--requests <count>', 'auth: tokens, proofs and requests of each row', parseCount, 5_000)
    .option('--connections <count>', 'ingest: uploads under way at once', parseCount, 4)
    .option('--json', 'print one JSON object');
  command.parse(args, { from: 'user' });
  const subject = command.processedArgs[0] as Subject | undefined;
  await measure(subject === undefined ? agreements : [subject], command.opts<Options>(), write);
}

async function measure(wanted: readonly Subject[], options: Options, write: (text: string) => void): Promise<void> {
  const { blocks, runs, networks, pairs, peerRuns } = { ...repeats[wanted.length > 1 ? 'all' : 'one'], ...options };
  const results: Record<string, unknown> = {};
  const show = <Row>(name: string, rows: readonly Row[], tables: (rows: readonly Row[]) => string): void => {
    results[name] = rows;
    if (!options.json) write(`\n${tables(rows)}`);
  };
  const machine = thisMachine();
  if (!options.json) write(machineLine(machine));
  if (wanted.includes('ring')) {
    show('ring', await each(options, 'ring', (suite, n) => measureRing(suite, n, blocks)), ringTables);
    const profiles = await each(options, 'profiles', (suite, n) => measureProfiles(suite, n, blocks));
    show('profiles', profiles.flat(), profileTable);
  }
  if (wanted.includes('founding')) {
    const rows = await measureFoundings(options, networks, runs);
    show('founding', rows, foundingTable);
  }
  if (wanted.includes('churn')) {
    const changes = await each(options, 'churn', (suite, n) => measureChurn(suite, n, 'sqlite', pairs));
    show('churn', changes.flat(), churnTable);
    const rows = await each(options, 'peers', (suite, n) => measurePeers(suite, n, peerRuns));
    show('peers', rows.flat(), peerTables);
  }
  if (wanted.includes('bytes')) {
    show('epochBytes', await each(options, 'bytes', measureEpochBytes), epochBytesTables);
    show(
      'readingBytes',
      await inTurn(options.suite.map((suite) => () => measureReadingBytes(suite))),
      readingBytesTable,
    );
  }
  if (wanted.includes('ingest')) {
    const rows = await measureIngests(options, (row) => {
      if (options.readings !== undefined && !options.json) write(`\n${ingestTable([row])}`);
    });
    show('ingest', rows, ingestTable);
  }
  if (wanted.includes('meters')) {
    const { suite, databases, meters } = options;
    const tasks = suite.flatMap((one) => databases.map((database) => () => measureMeters(one, database, meters)));
    show('meters', (await inTurn(tasks)).flat(), metersTable);
  }
  if (wanted.includes('directory')) {
    const { suite, databases, things } = options;
    const [one = suiteByName('x25519')] = suite;
    const tasks = databases.map((database) => () => measureDirectory(one, database, things));
    show('directory', (await inTurn(tasks)).flat(), directoryTable);
  }
  if (wanted.includes('auth')) {
    const [suite] = options.suite;
    const { checks, requests } = await measureAuth(suite ?? suiteByName('x25519'), options.requests);
    show('authChecks', checks, checksTable);
    show('authRequests', requests, requestsTable);
  }
  if (options.json) write(JSON.stringify({ machine, ...results }, null, 2));
}

/** On the bad network they wait nearly all of the time, and so all sizes and suites wait at once. */
async function measureFoundings(
  options: Options,
  networks: readonly Network[],
  runs: number,
): Promise<readonly FoundingRow[]> {
  const measured: FoundingRow[] = [];
  if (networks.includes('loopback')) {
    const rows = await each(options, 'founding', (suite, n) =>
      inTurn(stores.map((store) => () => measureFounding(suite, n, { store, network: 'loopback' }, runs))),
    );
    measured.push(...rows.flat());
  }
  if (networks.includes('impaired')) {
    const place = { store: 'sqlite', network: 'impaired' } as const;
    const sizesOf = options.n ?? sizes.founding;
    const all = options.suite.flatMap((suite) => sizesOf.map((n) => measureFounding(suite, n, place, runs)));
    measured.push(...(await Promise.all(all)));
  }
  return measured;
}

/** Without `--readings`: few where each upload has few, so that all rows take about as long. */
const readingsOf = (batch: number): number => (batch === 1 ? 2_000 : batch < 100 ? 10_000 : 20_000);

/** How many processes share a database: SQLite's belongs to one. */
const backendsOf = { sqlite: [1], postgres: [1, 2] } as const;

const measureIngests = (
  { suite, batches, connections, readings, databases }: Options,
  progress: (row: IngestRow) => void,
): Promise<readonly IngestRow[]> =>
  inTurn(
    suite.flatMap((one) =>
      databases.flatMap((database) =>
        backendsOf[database].flatMap((backends) =>
          batches.map((batch) => () => {
            const count = readings ?? readingsOf(batch);
            return measureIngest({ suite: one, database, backends, batch, readings: count, connections }, progress);
          }),
        ),
      ),
    ),
  );

const each = <T>(
  { n, suite }: Options,
  measurement: keyof typeof sizes,
  task: (suite: Suite, members: number) => T | Promise<T>,
): Promise<readonly T[]> =>
  inTurn(suite.flatMap((one) => (n ?? sizes[measurement]).map((members) => () => task(one, members))));

/** One after the other: what runs at once disturbs the other's measurement. */
async function inTurn<T>(tasks: readonly (() => T | Promise<T>)[]): Promise<readonly T[]> {
  const results: T[] = [];
  for (const task of tasks) results.push(await task());
  return results;
}

const parseSizes = (text: string): readonly number[] =>
  text.split(',').map((size) => wholeNumber(size, 2, limits.ringMembersHard));

const parseCount = (text: string): number => wholeNumber(text, 1, 100_000_000);

const parseBatches = (text: string): readonly number[] => text.split(',').map((size) => wholeNumber(size, 1, 140));

function wholeNumber(text: string, min: number, max: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new InvalidArgumentError(`"${text}" is not a whole number from ${min} to ${max}`);
  }
  return value;
}

const parseNetworks = (text: string): readonly Network[] => parseNames(text, ['loopback', 'impaired']);
const parseDatabases = (text: string): readonly DatabaseKind[] => parseNames(text, ['sqlite', 'postgres']);

const parseNames = <Name extends string>(text: string, names: readonly Name[]): readonly Name[] =>
  text.split(',').map((name) => {
    const found = names.find((known) => known === name);
    if (found === undefined) throw new InvalidArgumentError(`"${name}" is none of ${names.join(', ')}`);
    return found;
  });

function parseSuites(text: string): readonly Suite[] {
  try {
    return text.split(',').map(suiteByName);
  } catch (error) {
    throw new InvalidArgumentError(error instanceof GridringError ? error.message : String(error));
  }
}
