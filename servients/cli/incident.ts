/** `gridring incident`: a meter is stolen. It is taken out, the others get a new key, and what it exposes is written down. */
import type { Command } from 'commander';
import { toHex } from '../../crypto/bytes.js';
import { suiteByName } from '../../crypto/suite-node.js';
import type { SuiteName } from '../../crypto/suite.js';
import { ChainClient } from '../chain-client.js';
import { EpochLog } from '../epoch-log.js';
import { readCertificates, writePublic } from '../identity-files.js';
import { holderNamed } from '../key-holders.js';
import { signIncident, verifyIncident, type ExposedEpoch, type Incident } from '../lifecycle/incident-report.js';
import { removeEntry } from '../membership/edits.js';
import type { OpenList } from '../membership/list-file.js';
import { systemNowS } from '../runtime.js';
import { withRoot, withSigning } from './authority-options.js';
import { callerKeys, withCaller } from './caller.js';
import { openAuthority } from './membership-sign.js';
import { suiteOption, waitOption } from './options.js';
import { printJson, printLine, table } from './output.js';
import { firstEpochUnder, listedAs, signAndPublish, type PublishingOptions } from './publishing.js';

interface StolenOptions extends PublishingOptions {
  readonly wait?: number;
  readonly report?: string;
}

interface VerifyOptions {
  readonly root: string;
  readonly suite: SuiteName;
  readonly json?: true;
}

const usualWaitS = 120;

export function addIncident(program: Command): void {
  const incident = program
    .command('incident')
    .description('what to do when a meter is stolen, and the proof that it was done');
  withCaller(withSigning(incident.command('stolen <meter>')))
    .description('revoke it, wait for the key without it, list what it exposes, and write a signed report')
    .addOption(waitOption('for the key without it'))
    .option('--report <file>', 'where the report goes; incident-METER.json otherwise')
    .action(reportStolen);
  withRoot(incident.command('verify <file>'))
    .description('check a report: who signed it, and that it is as it was signed')
    .addOption(suiteOption())
    .option('--json', 'print one JSON object')
    .action((file: string, { root, suite: name, json }: VerifyOptions) => {
      const suite = suiteByName(name);
      const trustedRoots = readCertificates(suite, root, 'root certificate');
      const { incident: told, signer } = verifyIncident({ suite, trustedRoots, nowS: systemNowS() }, file);
      const by = `urn:gridring:${signer.role}:${signer.id}`;
      if (json) printJson({ event: 'incident-verified', signedBy: by, ...told });
      else for (const line of [`signed by ${by}, and as it was signed`, ...incidentLines(told)]) printLine(line);
    });
}

async function reportStolen(meter: string, options: StolenOptions): Promise<void> {
  let certHash = new Uint8Array(0);
  const next = await signAndPublish(options, ({ list }, names) => {
    certHash = listedAs(list, meter, 'member', names.urn).slice();
    return removeEntry(list, certHash, names.id);
  });
  if (!next) return;
  const incident = await investigate(meter, toHex(certHash), next, options);
  const file = options.report ?? `incident-${meter.split(':').at(-1) ?? meter}.json`;
  writePublic(file, signIncident(next.suite, openAuthority(next.suite, options.authority), incident));
  if (options.json) printJson({ event: 'incident-reported', file, ...incident });
  else for (const line of [...incidentLines(incident), `report  ${file}`]) printLine(line);
}

async function investigate(meter: string, certHash: string, next: OpenList, options: StolenOptions): Promise<Incident> {
  const keys = callerKeys(options);
  const log = new EpochLog(keys, systemNowS);
  const { epoch, attempt, recordedAt } = await firstEpochUnder(log, next, options.wait ?? usualWaitS);
  const gids = await log.groups();
  const exposedEpochs: ExposedEpoch[] = [];
  const stillListedIn: string[] = [];
  for (const gid of gids) {
    exposedEpochs.push(...(await exposedIn(log, gid, certHash)));
    const { list } = await log.newestMembership(gid);
    if (list.entries.some((entry) => toHex(entry.certHash) === certHash)) stillListedIn.push(gid);
  }
  const listing = (await new ChainClient(keys, systemNowS).meters()).find((listed) => listed.certHash === certHash);
  return {
    ...{ kind: 'stolen', meter, certHash, reportedAt: new Date(systemNowS() * 1_000).toISOString() },
    removedBy: {
      gid: toHex(next.list.gid),
      listVersion: next.list.version,
      listHash: toHex(next.membership.listHash),
    },
    rekeyedBy: { epoch, attempt, recordedAt },
    ...{ stillListedIn, exposedEpochs },
    chain: listing ? { readings: listing.count, lastSequence: listing.lastSequence } : null,
  };
}

/** By the proof of each epoch: whoever has confirmed a key holds it, or can be made to tell it. */
async function exposedIn(log: EpochLog, gid: string, certHash: string): Promise<readonly ExposedEpoch[]> {
  const exposed: ExposedEpoch[] = [];
  let replacedAt: string | null = null;
  for (const listed of await log.epochs(gid)) {
    const { epoch, attempt, keyName, recordedAt } = listed;
    if (holderNamed(await log.proof(listed), certHash)) {
      exposed.unshift({ gid, epoch, attempt, keyName, recordedAt, replacedAt });
    }
    replacedAt = recordedAt;
  }
  return exposed;
}

const columns = ['EPOCH', 'KEY', 'FROM', 'UNTIL', 'GROUP'];

function incidentLines(incident: Incident): readonly string[] {
  const { meter, certHash, reportedAt, removedBy, rekeyedBy, stillListedIn, exposedEpochs, chain } = incident;
  const rows = exposedEpochs.map(({ gid, epoch, attempt, keyName, recordedAt, replacedAt }) => [
    ...[`${epoch}.${attempt}`, keyName, recordedAt, replacedAt ?? 'in use', gid.slice(0, 8)],
  ]);
  return [
    `stolen  ${meter} (${certHash}), reported ${reportedAt}`,
    `out     by list ${removedBy.listVersion} of group ${removedBy.gid}: no token or stream of its certificate goes on`,
    `rekey   epoch ${rekeyedBy.epoch}, recorded ${rekeyedBy.recordedAt}, is the first without it`,
    ...stillListedIn.map((gid) => `still   in group ${gid}: revoke it there too, with that group's --file`),
    ...(chain
      ? [`chain   ${chain.readings} readings, up to ${chain.lastSequence}: what comes after is not to be believed`]
      : []),
    `exposed ${rows.length === 0 ? 'no epoch: it held no key' : 'what was said in the group under these keys, and its own readings:'}`,
    ...(rows.length === 0 ? [] : [table([columns, ...rows])]),
  ];
}
