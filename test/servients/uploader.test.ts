/** How a sender empties its outbox towards a station that does not like all of it. */
import { beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../crypto/errors.js';
import { PeerRefusal } from '../../servients/bindings/peer-refusal.js';
import { backoffMs } from '../../servients/runtime.js';
import { Judgement, Uploader } from '../../servients/uploader.js';

let waiting: number[];
let aside: [position: number, code: string][];
let taken: number[];
/** Positions that the station refuses, with the status. */
let refused: Map<number, number>;
let sizes: number[];

const items = (count: number): number[] => Array.from({ length: count }, (_, i) => i + 1);

beforeEach(() => {
  [aside, taken, sizes] = [[], [], []];
  refused = new Map();
});

/** The message is the positions, one byte each. */
const makeUploader = (): Uploader =>
  new Uploader({
    next: async (maxItems, after) => {
      const positions = waiting.filter((position) => position > after).slice(0, maxItems);
      return positions.length > 0 ? { positions, message: Uint8Array.from(positions) } : undefined;
    },
    outbox: {
      setAside: async (position, code) => {
        aside.push([position, code]);
        waiting = waiting.filter((each) => each !== position);
      },
    },
    judgement: new Judgement(() => undefined),
    send: async (message) => {
      sizes.push(message.length);
      const status = [...message].map((position) => refused.get(position)).find((each) => each !== undefined);
      if (status !== undefined) throw new PeerRefusal(status, status === 409 ? 'sequence-conflict' : 'refused', '');
      return new Uint8Array(0);
    },
    acknowledge: async ({ positions }) => {
      taken.push(...positions);
      waiting = waiting.filter((position) => !positions.includes(position));
    },
  });

/** Uploads until nothing is left, pausing where a sender would. @returns how often it paused */
async function upload(pauses: number): Promise<number> {
  const uploader = makeUploader();
  for (let paused = 0; ;) {
    try {
      if (!(await uploader.once())) return paused;
    } catch (error) {
      if (!(error instanceof PeerRefusal)) throw error;
      if (++paused === pauses) return paused;
    }
  }
}

describe('an item that is refused', () => {
  it('as a conflict is set aside at once', async () => {
    waiting = items(200);
    refused.set(1, 409).set(77, 409);
    expect(await upload(1)).toBe(0);
    expect(aside).toEqual([
      [1, 'sequence-conflict'],
      [77, 'sequence-conflict'],
    ]);
    expect(taken).toHaveLength(198);
  });

  it('as not verifying blocks nothing behind it, even at the head, and is set aside when it stays so', async () => {
    waiting = items(200);
    refused.set(1, 403).set(2, 403).set(50, 403);
    const uploader = makeUploader();
    let pauses = 0;
    for (let calls = 0; calls < 100 && aside.length === 0; calls++) {
      try {
        await uploader.once();
      } catch (error) {
        expect(error).toBeInstanceOf(PeerRefusal);
        pauses += 1;
        expect(taken).toHaveLength(196 + pauses);
        waiting.push(200 + pauses);
      }
    }
    expect(pauses).toBe(2);
    expect(aside.map(([position]) => position)).toEqual([1, 2, 50]);
    expect(waiting).toEqual([]);
  });

  it('is found however many of them come first', async () => {
    waiting = items(120);
    for (const position of items(100)) refused.set(position, 403);
    const uploader = makeUploader();
    for (let pauses = 0; taken.length < 20 && pauses < 10;) {
      try {
        await uploader.once();
      } catch {
        pauses += 1;
      }
    }
    expect(taken).toEqual(items(120).slice(100));
  });

  it('is kept, and asked about rarely, when nothing else is taken either', async () => {
    waiting = items(250);
    for (const position of waiting) refused.set(position, 403);
    expect(await upload(3)).toBe(3);
    expect(aside).toEqual([]);
    expect(waiting).toHaveLength(250);
    expect(sizes.length).toBeLessThan(80);
  });
});

describe('a sender that failed', () => {
  it('waits longer each time up to a limit, and not as long as all others', () => {
    for (const [failures, mostMs] of [
      [0, 500],
      [3, 4_000],
      [2_000, 30_000],
    ] as const) {
      const pauses = Array.from({ length: 200 }, () => backoffMs(failures));
      expect(Math.max(...pauses)).toBeLessThanOrEqual(mostMs);
      expect(Math.max(...pauses) - Math.min(...pauses)).toBeGreaterThan(mostMs / 2);
    }
  });

  it('comes no sooner than it was told', () => {
    const full = new PeerRefusal(503, 'disk-full', '', { retryAfterS: 10 });
    expect(backoffMs(0, full)).toBeGreaterThanOrEqual(10_000);
    expect(backoffMs(0, new UnavailableError('disk-full', '', undefined, 7))).toBeGreaterThanOrEqual(7_000);
  });
});
