/** What a backend's directory says of the backend and of itself. */
import type { FastifyBaseLogger } from 'fastify';
import { ConflictError } from '../crypto/errors.js';
import { signRegistration } from '../crypto/registration.js';
import { belongsTo, makeTd } from '../td/make-td.js';
import { issuerPath } from './issuer/mount.js';
import { backendUrn, directoryUrn, type RestContext } from './rest/context.js';

interface Own {
  /** Origin of the server as others reach it. */
  readonly url: string;
  /** Of the tokens that it takes, which is the directory's name in proofs. */
  readonly audience: string;
  readonly log: FastifyBaseLogger;
}

/** Registers both, signed by the backend; one that was signed later, by a clock that was ahead, stays. */
export async function registerOwnTds(context: RestContext, { url, audience, log }: Own): Promise<void> {
  const { directory, identity, suite, version, nowS } = context;
  const owner = backendUrn(context);
  const common = {
    ...{ version, base: `${url}/` },
    tokenAlgorithm: suite.id === 1 ? 'EdDSA' : 'ES256',
    ...(context.logins && { issuer: `${url}${issuerPath}` }),
  } as const;
  const id = directoryUrn(context);
  const ofDirectory = makeTd('directory', {
    ...{ ...common, id, title: `Directory of ${identity.id}` },
    links: [belongsTo(`things/${encodeURIComponent(owner)}`)],
  });
  const tds = [
    makeTd('backend', { ...common, id: owner, title: `Backend ${identity.id}` }),
    context.directoryIsOpen ? ofDirectory : withTokens(ofDirectory),
  ];
  for (const td of tds) {
    const signed = signRegistration(suite, identity, td, { directory: audience, timeS: nowS() });
    await directory.put(td.id ?? '', signed, { owner }).catch((error: unknown) => {
      if (!(error instanceof ConflictError)) throw error;
      log.warn({ code: error.code, id: td.id }, 'this server has signed a description later than now; that one stays');
    });
  }
}

/** The same where no form does without a token: its own security goes, and that of the Thing holds. */
const withTokens = (td: WoT.ThingDescription): WoT.ThingDescription =>
  JSON.parse(JSON.stringify(td), (name, value: unknown) =>
    name === 'security' && JSON.stringify(value) === '["nosec_sc"]' ? undefined : value,
  ) as WoT.ThingDescription;
