import { describe, expect, it } from 'vitest';
import { UnavailableError } from '../../crypto/errors.js';
import type { CoapCall, CoapResponse } from '../../servients/bindings/coap-agent.js';
import { coapClientDefaults } from '../../servients/bindings/coap-client.js';
import { blockOption, blockValue, optionNumber, optionValue } from '../../servients/bindings/coap-message.js';
import { transfer } from '../../servients/bindings/coap-transfer.js';
import { persistent } from '../../servients/bindings/coap-transport.js';

const call: CoapCall = { remote: { address: '192.0.2.1', port: 5683 }, method: 'POST', options: [] };
const large = { ...call, payload: Buffer.alloc(3_000, 7) };
const response = (code: string): CoapResponse => ({ code, options: [], payload: Buffer.alloc(0) });
const silence = (): never => {
  throw new UnavailableError('peer-timeout', 'no response');
};
const blockOf = ({ options }: CoapCall) => blockValue(options, optionNumber.block1);

/** A peer that is silent for the first `silences` messages, and then takes every block. */
function deafPeer(silences: number): {
  readonly heard: CoapCall[];
  readonly exchange: (call: CoapCall) => Promise<CoapResponse>;
} {
  const heard: CoapCall[] = [];
  const exchange = persistent(
    async (sent) => {
      heard.push(sent);
      if (heard.length <= silences) silence();
      return response(blockOf(sent)?.more === true ? '2.31' : '2.04');
    },
    coapClientDefaults,
    () => 0,
  );
  return { heard, exchange };
}

describe('a transfer in blocks over a bad network', () => {
  it('sends a block again that stays without an answer, rather than to begin anew', async () => {
    const { heard, exchange } = deafPeer(2);
    expect(await transfer(exchange, large, 1_000)).toMatchObject({ code: '2.04' });
    expect(heard.map((sent) => blockOf(sent)?.num)).toEqual([0, 0, 0, 1, 2]);
  });

  it('gives up a block after three tries, and a message that is no block after one', async () => {
    for (const [sent, tries] of [
      [large, 3],
      [{ ...call, payload: Buffer.alloc(1) }, 1],
    ] as const) {
      const { heard, exchange } = deafPeer(10);
      await expect(transfer(exchange, sent, 1_000)).rejects.toMatchObject({ code: 'peer-timeout' });
      expect(heard).toHaveLength(tries);
    }
  });

  it('does not go on beyond the deadline of the whole', async () => {
    let nowMs = 0;
    let tries = 0;
    const exchange = persistent(
      async (_, deadlineMs) => {
        nowMs += deadlineMs;
        tries += 1;
        return silence();
      },
      { ...coapClientDefaults, blockTries: 100 },
      () => nowMs,
    );
    await expect(transfer(exchange, large, 1_000)).rejects.toMatchObject({ code: 'peer-timeout' });
    expect(nowMs).toBe(coapClientDefaults.transferDeadlineMs);
    expect(tries).toBe(coapClientDefaults.transferDeadlineMs / coapClientDefaults.deadlineMs);
  });

  it('begins anew, under another tag, when the peer says that blocks are missing; but not for ever', async () => {
    const tags = new Set<string | undefined>();
    let uploads = 0;
    const forgetful = async (sent: CoapCall): Promise<CoapResponse> => {
      tags.add(optionValue(sent.options, optionNumber.requestTag)?.toString('hex'));
      if (blockOf(sent)?.num === 0) uploads += 1;
      if (blockOf(sent)?.more === true) return response('2.31');
      return response(uploads < 3 ? '4.08' : '2.04');
    };
    expect(await transfer(forgetful, large, 1_000)).toMatchObject({ code: '2.04' });
    expect(tags.size).toBe(3);
    const never = async (): Promise<CoapResponse> => response('4.08');
    expect(await transfer(never, large, 1_000)).toMatchObject({ code: '4.08' });
  });

  it('asks for a block of the answer again too', async () => {
    const asked: (number | undefined)[] = [];
    const exchange = persistent(
      async ({ options }) => {
        const wanted = blockValue(options, optionNumber.block2)?.num ?? 0;
        asked.push(wanted);
        if (asked.length === 2) silence();
        const block = blockOption({ num: wanted, more: wanted < 2, size: 16 });
        return { code: '2.05', options: [[optionNumber.block2, block]], payload: Buffer.alloc(16) };
      },
      coapClientDefaults,
      () => 0,
    );
    expect((await transfer(exchange, call, 1_000)).payload).toHaveLength(48);
    expect(asked).toEqual([0, 1, 1, 2]);
  });
});
