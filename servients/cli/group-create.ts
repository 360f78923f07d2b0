/** `gridring group create`: the first list of a new group, signed by the authority. */
import { existsSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { toHex } from '../../crypto/bytes.js';
import { verifyChain, type Certificate } from '../../crypto/certificate.js';
import { SetupError } from '../../crypto/errors.js';
import {
  encodeMembershipList,
  memberCount,
  parseMembershipList,
  roleBit,
  type AuthorityList,
  type Profile,
} from '../../crypto/membership.js';
import type { Suite, SuiteName } from '../../crypto/suite.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { writeDurably } from '../durable-file.js';
import { readCertificates } from '../identity-files.js';
import { addEntry } from '../membership/edits.js';
import { signNextList } from '../membership/list-file.js';
import { writeSigningRequest } from '../membership/signing-request.js';
import { systemNowS } from '../runtime.js';
import { namesOf, withAdvice } from './membership-drafts.js';
import { changesOf, openAuthority, publish, report } from './membership-sign.js';

export interface CreateOptions {
  readonly file: string;
  readonly root: string;
  readonly authority: string;
  readonly suite: SuiteName;
  readonly add: readonly string[];
  readonly profile: Profile;
  readonly rekeyInterval: number;
  readonly grace: number;
  readonly minMembers: number;
  readonly days: number;
  readonly url?: string;
  readonly export?: string;
  readonly dryRun?: true;
  readonly json?: true;
}

const dayS = 86_400;
/** Clocks of members may be a little behind. */
const backdateS = 3_600;

/** @throws SetupError `file-exists`, `too-few-members`, `no-gateway`, and those of the certificates */
export async function createGroup(options: CreateOptions): Promise<void> {
  const { file, root, json } = options;
  if (existsSync(file)) {
    throw new SetupError('file-exists', `${file} holds a list already: give the new group another --file`);
  }
  const suite = suiteByName(options.suite);
  const trustedRoots = readCertificates(suite, root, 'root certificate');
  const { list, certificates } = draft(suite, trustedRoots, options);
  const request = { suite, trustedRoots, base: undefined, list, certificates, delegation: undefined };
  const result = { gid: toHex(list.gid), version: 1, changes: changesOf(request), warnings: [] };
  if (options.dryRun || options.export !== undefined) {
    if (!options.dryRun && options.export !== undefined) writeSigningRequest(options.export, request);
    report(options, { ...result, ...(options.dryRun ? { dryRun: true } : { request: options.export }) });
    return;
  }
  const authority = openAuthority(suite, options.authority);
  const signed = withAdvice(() => signNextList(suite, trustedRoots, authority, { list, certificates }, systemNowS()));
  writeDurably(file, signed.bundle, 0o644);
  report(options, { ...result, listHash: toHex(signed.membership.listHash), file });
  if (options.url !== undefined)
    await publish({ suite, trustedRoots, ...signed, list, certificates, anchors: [] }, options.url, json);
}

function draft(
  suite: Suite,
  trustedRoots: readonly Certificate[],
  { add, profile, rekeyInterval, grace, minMembers, days }: CreateOptions,
): { readonly list: AuthorityList; readonly certificates: readonly Certificate[] } {
  const nowS = systemNowS();
  const holders = add.map((path) => {
    const all = readCertificates(suite, path, 'certificate');
    const [first, ...above] = all;
    if (!first) throw new SetupError('certificate-unusable', `${path} holds no certificate`);
    return { leaf: withAdvice(() => verifyChain(suite, first, above, trustedRoots, nowS)), all };
  });
  const certificates = holders.flatMap(({ all }) => all);
  const names = namesOf(certificates);
  const empty: AuthorityList = {
    gid: randomBytes(16),
    version: 1,
    policy: {
      ...{ suite: suite.id, minMembers, requiredMembers: [], gatewayIsMember: false, profile },
      ...{ rekeyIntervalS: rekeyInterval, graceS: grace, readings: [], epochFloor: null },
    },
    entries: [],
    notBeforeS: nowS - backdateS,
    notAfterS: nowS + days * dayS,
  };
  const list = holders.reduce(
    (before, { leaf }) => addEntry(before, { certificate: leaf, hpkeKey: null, reads: undefined }, names.id).list,
    empty,
  );
  if (memberCount(list) < minMembers) {
    throw new SetupError(
      'too-few-members',
      `the list names ${memberCount(list)} meters, and the policy asks for ${minMembers}`,
    );
  }
  if (!list.entries.some(({ roles }) => (roles & roleBit.coordinator) !== 0)) {
    throw new SetupError('no-gateway', 'no gateway is named that could coordinate: --add its certificate');
  }
  withAdvice(() => parseMembershipList(encodeMembershipList(list)));
  return { list, certificates };
}
