import { describe, expect, it, vi } from 'vitest';
import { nowS } from '../../support/neighbourhood.js';
import { expectProblem } from '../rest-server.js';
import { shows } from './statements.js';
import { DirectoryUnderTest, lamp, otherGateway, pathOf } from './under-test.js';

export function lifetimeTests(d: DirectoryUnderTest): void {
  describe('an entry with a time to live', () => {
    it('says when it ends, and is gone then: not retrieved, not listed, and free for somebody else', async () => {
      shows('tdd-registrationinfo-vocab-ttl', 'tdd-registrationinfo-vocab-expires', 'tdd-absolute-time');
      await d.put(lamp('a', { registration: { ttl: 90 } }));
      await d.put(lamp('b', { registration: { expires: '2026-01-01T01:01:00.5+01:00' } }));
      expect(await d.thing('a')).toMatchObject({ registration: { ttl: 90, expires: '2026-01-01T00:01:30.000Z' } });
      d.backend.clockS = nowS + 61;
      expectProblem(await d.get(pathOf('urn:example:b')), 404, 'td-unknown');
      expect(await d.idsOf()).toContain('urn:example:a');
      d.backend.clockS = nowS + 90;
      expect(await d.idsOf()).not.toContain('urn:example:a');
      expectProblem(await d.write('DELETE', pathOf('urn:example:a')), 404, 'td-unknown');
      expect((await d.put(lamp('a'), otherGateway)).status).toBe(201);
    });

    it('has times of the directory’s, whatever its owner says of them', async () => {
      shows('tdd-registrationinfo-vocab-expires', 'tdd-registrationinfo-vocab-created');
      shows('tdd-registrationinfo-vocab-modified', 'tdd-registrationinfo-vocab-retrieved');
      const [past, future] = ['2020-01-01T00:00:00Z', '2030-01-01T00:00:00Z'];
      const registration = { created: past, modified: future, retrieved: past, expires: future, ttl: 60 };
      await d.put(lamp('a', { registration }));
      const now = '2026-01-01T00:00:00.000Z';
      expect((await d.thing('a'))['registration']).toEqual({
        created: now,
        modified: now,
        retrieved: now,
        ttl: 60,
        expires: '2026-01-01T00:01:00.000Z',
      });
    });

    it('is removed from the database without anybody asking for it', async () => {
      shows('tdd-registrationinfo-expiry-purge');
      vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
      const other = new DirectoryUnderTest(d.open);
      await other.start();
      await other.put(lamp('a', { registration: { ttl: 90 } }));
      other.backend.clockS = nowS + 90;
      vi.advanceTimersByTime(60_000);
      vi.useRealTimers();
      await expect
        .poll(() => other.backend.logged)
        .toContainEqual(expect.objectContaining({ ids: ['urn:example:a'], msg: 'Thing Descriptions have expired' }));
      await other.backend.remove();
    });

    it('lives on when it is registered again in time', async () => {
      await d.put(lamp('a', { registration: { ttl: 90 } }));
      d.backend.clockS = nowS + 60;
      expect((await d.put(lamp('a', { registration: { ttl: 90 } }))).status).toBe(204);
      d.backend.clockS = nowS + 120;
      expect((await d.get(pathOf('urn:example:a'))).status).toBe(200);
    });
  });
}
