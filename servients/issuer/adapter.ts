/** What oidc-provider keeps, in the backend's database: under the hash of its id, so that nobody who reads it can use it. */
import { hash } from 'node:crypto';
import Provider, { errors, type Adapter, type AdapterPayload } from 'oidc-provider';
import type { AuditFacts } from '../../crypto/audit/entry.js';
import type { AuditLog } from '../../things/audit-log.js';
import type { FoundIssuerItem, IssuerItem, IssuerStore } from '../../things/issuer-store.js';
import { personUrn } from '../auth/sessions.js';

export interface AdapterParts {
  readonly store: IssuerStore;
  readonly audit: Pick<AuditLog, 'facts' | 'append'>;
  readonly nowS: () => number;
  /** The metadata of a client that is not configured. */
  readonly findClient: (id: string) => Promise<AdapterPayload | undefined>;
}

/** What has no end of its own is kept so long, seconds: longer than any of the issuer's lifetimes. */
const longestLifeS = 30 * 86_400;

export const makeAdapter =
  (parts: AdapterParts) =>
  (model: string): Adapter =>
    model === 'Client' ? clientAdapter(parts) : new StoreAdapter(model, parts);

class StoreAdapter implements Adapter {
  readonly #model: string;
  readonly #store: IssuerStore;
  readonly #audit: AdapterParts['audit'];
  readonly #nowS: () => number;

  constructor(model: string, { store, audit, nowS }: AdapterParts) {
    this.#model = model;
    this.#store = store;
    this.#audit = audit;
    this.#nowS = nowS;
  }

  async upsert(id: string, payload: AdapterPayload, expiresInS = longestLifeS): Promise<void> {
    const nowS = this.#nowS();
    const item = itemOf(this.#model, id, payload, nowS + expiresInS);
    if (this.#model === 'RefreshToken') return this.#store.putItem(item, this.#facts('token.issue', payload));
    if (this.#model !== 'ReplayDetection') return this.#store.putItem(item);
    // It was looked for just before, but another request, or another process, may have come in between.
    if (!(await this.#store.addItem(item, nowS))) throw new errors.InvalidRequest('this was used before');
  }

  async find(id: string): Promise<AdapterPayload | undefined> {
    return payloadOf(await this.#store.item(this.#model, hashOf(id)), id);
  }

  async findByUid(uid: string): Promise<AdapterPayload | undefined> {
    return payloadOf(await this.#store.itemByUid(this.#model, uid));
  }

  async findByUserCode(userCode: string): Promise<AdapterPayload | undefined> {
    return payloadOf(await this.#store.itemByUserCode(this.#model, userCode));
  }

  async consume(id: string): Promise<void> {
    // Of two that bring the same code at once, one gets tokens for it.
    if (!(await this.#store.consumeItem(this.#model, hashOf(id), this.#nowS()))) {
      throw new errors.InvalidGrant('this was used before');
    }
  }

  destroy(id: string): Promise<void> {
    return this.#store.deleteItem(this.#model, hashOf(id));
  }

  revokeByGrantId(grantId: string): Promise<void> {
    // It is asked of each model that there is.
    const isTold = this.#model === 'RefreshToken';
    return this.#store.deleteGrant(grantId, isTold ? this.#facts('token.revoke', grantHolder()) : []);
  }

  /** Of the tokens of people: an access token is given out with a refresh token, and ends soon. */
  #facts(
    action: string,
    { accountId, clientId }: Pick<AdapterPayload, 'accountId' | 'clientId'>,
  ): readonly AuditFacts[] {
    if (accountId === undefined) return [];
    const person = personUrn({ id: accountId });
    const details = { client: clientId ?? '', by: grantTypeOf() };
    return [
      this.#audit.facts({
        ...{ actor: person, action, subject: person, outcome: 'done', requestId: requestIdOf() },
        details,
      }),
    ];
  }
}

/** Of the request that is being answered: the name that its log lines have. */
export function requestIdOf(): string | null {
  const id = Provider.ctx?.get('x-request-id') ?? '';
  return id === '' ? null : id;
}

/** How tokens were come by: `authorization_code`, `refresh_token`; where they end, what ended them. */
function grantTypeOf(): string {
  const { route, params } = Provider.ctx?.oidc ?? {};
  const type = params?.['grant_type'];
  return typeof type === 'string' ? type : (route ?? '');
}

/** Whose grant ends: who revokes a token, or it was shown twice; or somebody logs out. */
function grantHolder(): Pick<AdapterPayload, 'accountId' | 'clientId'> {
  const { entities, session } = Provider.ctx?.oidc ?? {};
  const token = entities?.RefreshToken ?? entities?.AuthorizationCode ?? entities?.DeviceCode;
  return { accountId: token?.accountId ?? session?.accountId, clientId: token?.clientId };
}

const hashOf = (id: string): Uint8Array => hash('sha256', id, 'buffer');

/** A device code is found by its user code, and then saved under its id: that one alone keeps it. */
const keepsId: ReadonlySet<string> = new Set(['DeviceCode']);

function itemOf(model: string, id: string, payload: AdapterPayload, expiresS: number): IssuerItem {
  const { jti, ...rest } = payload;
  const { grantId, uid, userCode, accountId } = payload;
  return {
    model,
    idHash: hashOf(id),
    payload: JSON.stringify(keepsId.has(model) ? { jti, ...rest } : rest),
    // A grant goes with all that was given out under it.
    grantId: grantId ?? null,
    uid: uid ?? null,
    userCode: userCode ?? null,
    account: accountId ?? null,
    expiresS,
  };
}

function payloadOf(item: FoundIssuerItem | undefined, id?: string): AdapterPayload | undefined {
  if (!item) return undefined;
  const payload = JSON.parse(item.payload) as AdapterPayload;
  return {
    ...payload,
    ...(id !== undefined && { jti: id }),
    ...(item.consumedS !== null && { consumed: item.consumedS }),
  };
}

/** Clients are configured, or known by their certificate; none registers itself. */
function clientAdapter({ findClient }: AdapterParts): Adapter {
  const refuse = async (): Promise<never> => {
    throw new errors.InvalidRequest('clients cannot be registered here');
  };
  return {
    find: findClient,
    upsert: refuse,
    findByUserCode: refuse,
    findByUid: refuse,
    consume: refuse,
    destroy: refuse,
    revokeByGrantId: refuse,
  };
}
