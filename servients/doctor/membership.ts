/** The membership lists of a gateway: that they verify, how long they hold, and whether the backend has newer ones. */
import { GridringError } from '../../crypto/errors.js';
import { compareLists } from '../../crypto/membership.js';
import { suiteByName } from '../../crypto/suite-node.js';
import { BackendClient } from '../backend-client.js';
import { makeFetch } from '../bindings/tls-fetch.js';
import { tokenHolder } from '../bindings/token.js';
import type { GatewayConfig } from '../config.js';
import { readIdentity } from '../identity-files.js';
import { makeDeviceFetch } from '../issuer-client.js';
import { isoTime } from '../membership/changes.js';
import { openList, readListFile, type OpenList } from '../membership/list-file.js';
import { systemNowS } from '../runtime.js';
import { failure, ok, warning, type Finding } from './finding.js';

const dayS = 86_400;
const soonDays = 30;

export async function* checkMemberships(config: GatewayConfig): AsyncGenerator<Finding> {
  for (const path of [config.membership].flat()) {
    let open: OpenList;
    try {
      open = readListFile(path, config.root, systemNowS());
    } catch (error) {
      if (!(error instanceof GridringError)) throw error;
      const advice = 'put the list there that the authority has signed ("gridring membership fetch" takes the newest)';
      yield failure(`membership list ${path}`, `${error.message} [${error.code}]`, advice);
      continue;
    }
    yield ageOf(path, open);
    yield await againstBackend(config, open);
  }
}

function ageOf(path: string, { membership: { list } }: OpenList): Finding {
  const name = `membership list ${path}`;
  const leftDays = Math.floor((list.notAfterS - systemNowS()) / dayS);
  const detail = `list ${list.version}.${list.revision} is signed by the authority; from ${isoTime(list.notBeforeS)} until ${isoTime(list.notAfterS)}`;
  const advice = 'the authority signs one that lasts longer: "gridring membership renew"';
  if (systemNowS() > list.notAfterS) return failure(name, `${detail}: it has ended`, advice);
  return leftDays < soonDays ? warning(name, `${detail}: ${leftDays} days are left`, advice) : ok(name, detail);
}

async function againstBackend(config: GatewayConfig, { suite, trustedRoots, membership }: OpenList): Promise<Finding> {
  const { list } = membership;
  const name = `list ${list.version}.${list.revision} at the backend`;
  const { url, audience } = config.backend;
  try {
    const { leaf: certificate, certificates, secret } = readIdentity(suiteByName(config.suite), config);
    const identity = { suite, certificate, certificates, secret };
    const roots = trustedRoots.map(({ der }) => der);
    const send = makeDeviceFetch({
      ...{ send: makeFetch({ roots, identity }), url, audience, holder: tokenHolder(identity), nowS: systemNowS },
    });
    const bundle = await new BackendClient({ suite, trustedRoots, url, fetch: send }).membership(list.gid);
    const theirs = bundle && openBundle(bundle, config.root);
    if (!theirs) return ok(name, 'it has none yet: the gateway brings it');
    const order = compareLists(theirs, list);
    const version = `${theirs.version}.${theirs.revision}`;
    if (order === 0) return ok(name, 'it has the same');
    return order > 0
      ? ok(name, `it has ${version}, which the gateway takes over when it runs`)
      : warning(
          name,
          `it has ${version} only`,
          'a gateway that runs brings the newer one; see what its log says of it',
        );
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    if (error.code === 'group-unknown') return ok(name, 'it has none yet: the gateway brings it');
    const advice = 'the backend must be reached, and let this certificate in: see its log';
    return warning(name, `could not be compared: ${error.message} [${error.code}]`, advice);
  }
}

const openBundle = (bundle: Uint8Array, root: string) => openList(bundle, root, systemNowS()).membership.list;
