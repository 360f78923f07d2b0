/** `gridring meter revoke`: the authority's next list goes without a meter, and the others agree on a key without it. */
import { toHex } from '../../crypto/bytes.js';
import { EpochLog, type ListedEpoch } from '../epoch-log.js';
import { removeEntry } from '../membership/edits.js';
import { systemNowS } from '../runtime.js';
import { callerKeys } from './caller.js';
import { printJson, printLine } from './output.js';
import { firstEpochUnder, listedAs, signAndPublish, type PublishingOptions } from './publishing.js';

export interface MeterRevokeOptions extends PublishingOptions {
  /** How long, in seconds; absent: not at all. */
  readonly wait?: number;
}

export async function revokeMeter(who: string, options: MeterRevokeOptions): Promise<void> {
  let certHash = '';
  const next = await signAndPublish(options, ({ list }, names) => {
    const meter = listedAs(list, who, 'member', names.urn);
    certHash = toHex(meter);
    return removeEntry(list, meter, names.id);
  });
  if (!next) return;
  const log = new EpochLog(callerKeys(options), systemNowS);
  const last = (await log.epochs(toHex(next.list.gid))).find(({ listVersion }) => listVersion < next.list.version);
  const first = options.wait === undefined ? undefined : await firstEpochUnder(log, next, options.wait);
  if (options.json) {
    printJson({
      event: 'meter-revoked',
      meter: who,
      certHash,
      listVersion: next.list.version,
      ...epochsOf(last, first),
    });
    return;
  }
  printLine(outLine(who, last));
  if (first) printLine(`epoch ${first.epoch}, recorded ${first.recordedAt}, is the first without it`);
  else printLine('"gridring group status" shows when the others have agreed on it');
}

const epochsOf = (last: ListedEpoch | undefined, first: ListedEpoch | undefined): object => ({
  lastEpoch: last?.epoch ?? null,
  ...(first && { firstWithout: first.epoch, recordedAt: first.recordedAt }),
});

const outLine = (who: string, last: ListedEpoch | undefined): string =>
  last
    ? `${who} is out from epoch ${last.epoch + 1} on; what it held until epoch ${last.epoch} cannot be taken from it`
    : `${who} is out: there was no epoch yet`;
