/** Sizes of messages, as COSE bytes: what CoAP, UDP and IP add is not in them. */
import { newSealingState, seal } from '../crypto/envelope/sealing.js';
import { encodeSenml } from '../crypto/envelope/senml.js';
import type { Suite, SuiteName } from '../crypto/suite.js';
import { csvReplay } from '../servients/sources/csv.js';
import { minutesPerDay, readRecording, shippedReadings } from '../servients/sources/csv-file.js';
import { systemClock } from '../servients/sources/replay-clock.js';
import { makeDeployment, random } from './deployment.js';
import { Group } from './group.js';
import { median } from './statistics.js';

/** Of messages that every member sends, the largest. */
export interface EpochBytesRow {
  readonly suite: SuiteName;
  readonly members: number;
  readonly announcement: number;
  readonly share: number;
  readonly token: number;
  readonly confirmation: number;
  readonly rosterBundle: number;
  readonly tokenBundle: number;
  readonly confirmationBundle: number;
  /** By one member in one agreement: its share, token and confirmation. */
  readonly sent: number;
  /** By one member in one agreement: the announcement and the three bundles. */
  readonly received: number;
  readonly record: number;
  /** The signed list with the certificates that it names, which a member is given once. */
  readonly membership: number;
  /** What a member keeps of a group on disk beside the list, with an active and a previous key. */
  readonly state: number;
  /** The same when it is largest, with a key pending as well. */
  readonly stateRekeying: number;
}

export function measureEpochBytes(suite: Suite, members: number): EpochBytesRow {
  const deployment = makeDeployment(suite, members);
  const group = new Group(deployment);
  const messages = group.run((_part, work) => work());
  const largest = (all: readonly Uint8Array[]): number => Math.max(...all.map(({ length }) => length));
  const announcement = messages.announcement.length;
  const [share, token, confirmation] = [
    largest(messages.shares),
    largest(messages.tokens),
    largest(messages.confirmations),
  ];
  const rosterBundle = messages.roster.length;
  const tokenBundle = messages.tokenBundle.length;
  const confirmationBundle = messages.confirmationBundle.length;
  return {
    suite: suite.name,
    members,
    announcement,
    share,
    token,
    confirmation,
    rosterBundle,
    tokenBundle,
    confirmationBundle,
    sent: share + token + confirmation,
    received: announcement + rosterBundle + tokenBundle + confirmationBundle,
    record: messages.record.length,
    membership: deployment.membershipBundle.length,
    ...measureState(group),
  };
}

/** Of a group that has agreed once. */
function measureState(group: Group): { readonly state: number; readonly stateRekeying: number } {
  group.run((_part, work) => work());
  const state = group.memberState.length;
  const underWay: number[] = [];
  group.run((_part, work) => {
    const result = work();
    underWay.push(group.memberState.length);
    return result;
  });
  return { state, stateRekeying: Math.max(...underWay) };
}

/** Of one day of the shipped readings, each sealed by itself. */
export interface ReadingBytesRow {
  readonly suite: SuiteName;
  readonly readings: number;
  /** The plaintext: SenML in CBOR. */
  readonly senmlMedian: number;
  readonly envelopeMedian: number;
  readonly envelopeMax: number;
  /** To one reader. */
  readonly grant: number;
}

export async function measureReadingBytes(suite: Suite): Promise<ReadingBytesRow> {
  const deployment = makeDeployment(suite, 3);
  const group = new Group(deployment);
  group.run((_part, work) => work());
  const [self] = deployment.meters;
  const [activeKey] = group.activeKeys;
  if (!self || !activeKey) throw new TypeError('a deployment without meters');
  const context = { suite, self, membership: deployment.membership, activeKey: activeKey.name, random };
  const stop = new AbortController();
  const source = csvReplay(await readRecording(shippedReadings()), { dayIndex: 0, speed: 1e9 }, systemClock);
  const senml: number[] = [];
  const envelopes: number[] = [];
  let grant = 0;
  let state = newSealingState;
  for await (const reading of source.readings(undefined, stop.signal)) {
    const step = seal(context, state, reading);
    state = step.state;
    senml.push(encodeSenml({ meterId: self.id, readings: [reading] }).length);
    for (const { kind, message } of step.items) {
      if (kind === 'grant') grant = message.length;
      else envelopes.push(message.length);
    }
    if (envelopes.length === minutesPerDay) break;
  }
  return {
    suite: suite.name,
    readings: envelopes.length,
    senmlMedian: median(senml),
    envelopeMedian: median(envelopes),
    envelopeMax: Math.max(...envelopes),
    grant,
  };
}
