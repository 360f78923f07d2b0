/** Readings from the P1 port of a smart meter. What is not read in time is gone: a live source, but for a file. */
import { LiveQueue } from './live-queue.js';
import { P1Intake, type IntakeOptions, type Moment } from './p1-intake.js';
import { isFile, openPort, parsePort, type P1Port, type SerialMode } from './p1-port.js';
import { TelegramSplitter } from './p1-telegram.js';
import type { Clock } from './replay-clock.js';
import type { Observation, ReadingSource, SourcePosition } from './source.js';

export interface P1Options extends Omit<IntakeOptions, 'isLive'> {
  /** As `parsePort` takes it. */
  readonly port: string;
  readonly serial: SerialMode;
}

export type OnTrouble = (error: unknown) => void;

const longestPauseMs = 30_000;

/** A device that is unplugged, or not there yet, is waited for. @throws SetupError `source-port-invalid` */
export async function p1Source(options: P1Options, clock: Clock, onTrouble: OnTrouble): Promise<ReadingSource> {
  const port = parsePort(options.port);
  const isLive = !(await isFile(port));
  const observe = isLive ? fromDevice : fromFile;
  // Telegrams are thinned to the interval of the moment.
  const taking = { ...options, isLive };
  return {
    ...{ name: 'p1', isLive },
    get intervalS() {
      return taking.intervalS;
    },
    interval: {
      takes: (intervalS) => Number.isInteger(intervalS) && intervalS >= 1,
      set: (intervalS) => {
        taking.intervalS = intervalS;
      },
    },
    readings: (after, signal) => observe({ port, isLive, options: taking, clock, onTrouble }, after, signal),
  };
}

interface P1Parts {
  readonly port: P1Port;
  readonly isLive: boolean;
  readonly options: P1Options & IntakeOptions;
  readonly clock: Clock;
  readonly onTrouble: OnTrouble;
}

const momentOf = ({ clock }: P1Parts): Moment => ({
  nowS: Math.floor(clock.nowMs() / 1000),
  upS: performance.now() / 1000,
});

const intakeOf = (parts: P1Parts, after: SourcePosition | undefined): P1Intake =>
  new P1Intake(parts.options, after?.timeS ?? null, momentOf(parts).upS);

async function* fromFile(
  parts: P1Parts,
  after: SourcePosition | undefined,
  signal: AbortSignal,
): AsyncGenerator<Observation, void, undefined> {
  const intake = intakeOf(parts, after);
  const splitter = new TelegramSplitter();
  for await (const chunk of openPort(parts.port, parts.options.serial, signal)) {
    for (const item of splitter.push(chunk)) yield* intake.take(item, momentOf(parts));
  }
  // The last line of a file may lack its end.
  for (const item of splitter.push(Buffer.from('\n'))) yield* intake.take(item, momentOf(parts));
}

async function* fromDevice(
  parts: P1Parts,
  after: SourcePosition | undefined,
  signal: AbortSignal,
): AsyncGenerator<Observation, void, undefined> {
  const queue = new LiveQueue();
  const intake = intakeOf(parts, after);
  const over = new AbortController();
  const until = AbortSignal.any([signal, over.signal]);
  const tick = setInterval(() => {
    queue.push(intake.tick(momentOf(parts)));
  }, 1_000).unref();
  const listening = listen(parts, intake, queue, until);
  try {
    yield* queue.take(until);
  } finally {
    clearInterval(tick);
    over.abort();
    await listening;
  }
}

/** Opens the port again and again, until the end. */
async function listen(parts: P1Parts, intake: P1Intake, queue: LiveQueue, signal: AbortSignal): Promise<void> {
  for (let failures = 0; !signal.aborted; failures++) {
    const splitter = new TelegramSplitter();
    try {
      for await (const chunk of openPort(parts.port, parts.options.serial, signal)) {
        for (const item of splitter.push(chunk)) {
          if (item.kind === 'telegram') failures = 0;
          queue.push(intake.take(item, momentOf(parts)));
        }
      }
    } catch (error) {
      parts.onTrouble(error);
    }
    intake.lost();
    await parts.clock.sleep(Math.min(longestPauseMs, 500 * 2 ** failures), signal);
  }
}
