/** Readings and grants on their way through a gateway whose lists change, to a backend that does not like all of them. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { equalBytes, toHex } from '../../crypto/bytes.js';
import { parseCertificate, verifyChain } from '../../crypto/certificate.js';
import { parseReading, parseUpload, signReceipt } from '../../crypto/envelope/reading.js';
import { encodeEndorsementBundle, signEndorsement } from '../../crypto/ring/endorsement.js';
import { suiteX25519 } from '../../crypto/suite-node.js';
import { PeerRefusal } from '../../servients/bindings/peer-refusal.js';
import { Delivery } from '../../servients/gateway-delivery.js';
import type { RuntimeEvent } from '../../servients/runtime.js';
import { makeLog } from '../../servients/runtime.js';
import { at, neighbourhoodOf } from '../support/forge.js';
import { refusalOf, Village } from '../support/village.js';

const n = neighbourhoodOf(suiteX25519, 4);

let village: Village;
const running = new Set<AbortController>();
afterEach(async () => {
  for (const each of running) each.abort();
  await village.close();
});

async function founded(): Promise<void> {
  village = await Village.build(n);
  await village.enrolAll();
  await village.epochsAgreed(1);
  await village.endorse();
}

/** Seals a reading that stays with the meter for now. */
const seal = (i: number): Promise<void> => {
  const { meter } = at(village.residents, i);
  const energyTotalWh = meter.lastSequence + 1;
  return meter.report({ timeS: village.clock.nowS, intervalS: 60, energyTotalWh, source: 'replay', missing: true });
};

const depth = async (): Promise<number> => (await village.store.outboxStatus()).depth;

describe('a gateway takes', () => {
  it('what a member sealed before it was removed, however late it comes', async () => {
    await founded();
    await seal(3);
    await village.updateMembership(n.list({ version: 2, without: [n.meters[3]!] }));
    await village.epochsAgreed(2);
    const before = await depth();
    await village.deliver(3);
    expect(await depth()).toBeGreaterThan(before);
    expect(await at(village.residents, 3).meter.nextUpload()).toBeUndefined();
  });

  it('a grant to a reader who was removed since, also when no epoch was agreed under the list that named it', async () => {
    await founded();
    const late = n.list({ version: 3 });
    const readings = late.policy.readings.slice(0, 1);
    await village.updateMembership(n.list({ version: 2 }));
    await village.pass(60_000);
    await seal(0);
    await village.updateMembership({ ...late, policy: { ...late.policy, readings } });
    await village.deliver(0);
    expect(await at(village.residents, 0).meter.nextUpload()).toBeUndefined();
  });
});

describe('what the backend refuses', () => {
  interface Refusing {
    readonly events: readonly RuntimeEvent[];
    readonly taken: readonly Uint8Array[];
  }

  /** Delivers to a backend that refuses every upload with one of these readings in it, and records by `status`. */
  function deliver(refused: readonly Uint8Array[], status: number): Refusing {
    const controller = new AbortController();
    running.add(controller);
    const events: RuntimeEvent[] = [];
    const taken: Uint8Array[] = [];
    const { suite, backend, gateway } = n;
    const issuing = parseCertificate(suite, at(n.certificates, 0));
    const runtime = { log: makeLog('silent'), emit: (event: RuntimeEvent) => events.push(event), version: '0' };
    const delivery = new Delivery({
      gateway: village.gateway,
      store: village.store,
      runtime,
      backend: {
        recordEpoch: async () => new Uint8Array(0),
        publishMembership: async () => undefined,
        uploadReadings: async (upload) => {
          const { readings, grants } = parseUpload(upload);
          if (readings.some((reading) => refused.some((other) => equalBytes(other, reading)))) {
            throw new PeerRefusal(status, 'sequence-conflict', 'no');
          }
          taken.push(...grants, ...readings);
          return signReceipt(suite, backend, gateway.certHash, upload);
        },
        certificate: async () =>
          verifyChain(suite, backend.certificate, [issuing], [n.root], village.clock.nowS, 'backend'),
        forgetCertificate: () => undefined,
      },
    });
    void delivery.run(controller.signal);
    return { events, taken };
  }

  const readingsOf = async (i: number): Promise<readonly Uint8Array[]> => {
    const items = await village.store.pending(1_000, 1_000_000);
    const { certHash } = at(n.meters, i);
    return items
      .filter(({ kind, message }) => kind === 'reading' && equalBytes(parseReading(n.suite, message).meter, certHash))
      .map(({ message }) => message);
  };

  it('for good is set aside: all else arrives, and it is shown, kept, and tried again when asked', async () => {
    await founded();
    for (let i = 0; i < 5; i++) for (const meter of [0, 1, 2, 3]) await village.read(meter);
    const poison = [(await readingsOf(1))[2]!, (await readingsOf(2))[0]!];
    const all = await depth();
    const { events, taken } = deliver(poison, 409);
    await vi.waitFor(async () => {
      expect(await depth()).toBe(0);
    });
    expect(taken).toHaveLength(all - 2);
    expect(events.map(({ event }) => event)).toEqual(['set-aside', 'set-aside']);
    expect(await village.gateway.properties['outbox']!()).toMatchObject({
      depth: 0,
      setAside: 2,
      setAsideCode: 'sequence-conflict',
    });
    for (const each of running) each.abort();
    await village.store.putBack();
    expect(await depth()).toBe(2);
    const kept = await village.store.pending(10, 10_000);
    expect(kept.map(({ message }) => toHex(message)).sort()).toEqual(poison.map(toHex).sort());
  });

  it('forgets no record for an answer that is not the backend’s word for it', async () => {
    village = await Village.build(n);
    await village.enrolAll();
    await village.epochsAgreed(1);
    const [agreed] = await village.store.unreportedRecords();
    const byGateway = signEndorsement(n.suite, n.gateway, { ...agreed!, th2: new Uint8Array(32) }, agreed!.record);
    const forged = encodeEndorsementBundle(byGateway, [n.gateway.certificate.der, at(n.certificates, 0)]);
    for (const answer of [new Uint8Array(0), forged]) await refusalOf(village.gateway.recorded(agreed!, answer));
    expect(await village.store.unreportedRecords()).toHaveLength(1);
    await village.endorse();
    expect(await village.store.unreportedRecords()).toEqual([]);
  });

  it('because it does not believe this gateway is not set aside', async () => {
    await founded();
    await village.read(0);
    const all = await depth();
    const { events } = deliver(await readingsOf(0), 403);
    await vi.waitFor(() => {
      expect(events.map(({ event }) => event)).toContain('backend-away');
    });
    expect((await village.store.setAsideStatus()).count).toBe(0);
    expect(await depth()).toBeLessThanOrEqual(all);
  });
});
