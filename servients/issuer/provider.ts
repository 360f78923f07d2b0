/** oidc-provider as it is set up here: short-lived JWTs for the backend's API alone (RFC 9068), each bound to a key (RFC 9449). */
import Provider, { errors, type Configuration, type KoaContextWithOIDC } from 'oidc-provider';
import type { AdapterParts } from './adapter.js';
import { makeAdapter, requestIdOf } from './adapter.js';
import { RateLimit } from '../bindings/rate-limit.js';
import { certificatesClaim } from '../auth/certificates-claim.js';
import { commandLineClient } from './clients.js';
import type { SigningKey } from './keys.js';
import { pagesFor, type Pages } from './pages.js';

export interface IssuerAccount {
  readonly subject: string;
  /** That the account's roles allow. */
  readonly scopes: readonly string[];
}

export interface ProviderParts extends AdapterParts {
  /** `<origin>/oidc` */
  readonly issuer: string;
  readonly key: SigningKey;
  /** `aud` of the tokens. */
  readonly audience: string;
  /** All that a token of this issuer may allow. */
  readonly scopes: readonly string[];
  /** Undefined for one that is unknown or disabled. */
  readonly findAccount: (subject: string) => Promise<IssuerAccount | undefined>;
}

/** Seconds. */
const lives = {
  deviceToken: 300,
  personToken: 600,
  code: 60,
  deviceCode: 600,
  interaction: 900,
  session: 12 * 3_600,
  refreshToken: 14 * 86_400,
};

const algorithms = ['ES256'] as const;
const callerAlgorithms = ['ES256', 'EdDSA', 'Ed25519'] as const;

/** The one resource that there are tokens for (RFC 8707); clients need not name it. */
const resourceOf = (issuer: string): string => new URL('/api/v1', issuer).href;

export function makeProvider(parts: ProviderParts): Provider {
  const provider = new Provider(parts.issuer, configurationOf(parts));
  // The host and scheme of requests are set by whoever passes them on, to those of the issuer.
  provider.proxy = true;
  return provider;
}

function configurationOf(parts: ProviderParts): Configuration {
  const { issuer, key, findAccount } = parts;
  const logDeviceToken = deviceTokenLog(parts);
  return {
    adapter: makeAdapter(parts),
    jwks: { keys: [key.jwk] },
    clients: [commandLineClient],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    clientAuthMethods: ['private_key_jwt', 'none'],
    extraClientMetadata: { properties: [certificatesClaim] },
    responseTypes: ['code'],
    scopes: ['openid', 'offline_access'],
    clientBasedCORS: () => false,
    pkce: { required: () => true },
    enabledJWA: {
      clientAuthSigningAlgValues: [...callerAlgorithms],
      dPoPSigningAlgValues: [...callerAlgorithms],
      idTokenSigningAlgValues: [...algorithms],
    },
    features: featuresOf(parts),
    cookies: { names: { session: 'gridring_session', interaction: 'gridring_login', resume: 'gridring_resume' } },
    interactions: { url: (_ctx, { uid }) => `${issuer}/login/${uid}` },
    findAccount: async (_ctx, subject) => {
      const account = await findAccount(subject);
      return account && { accountId: subject, claims: () => ({ sub: subject }) };
    },
    loadExistingGrant: (ctx) => grantOf(ctx, parts),
    issueRefreshToken: async (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: () => true,
    expiresWithSession: () => false,
    extraTokenClaims: async (_ctx, { client, kind, clientId }) => {
      // Of a device there is no row that the entry could go with: it is there before the token is.
      if (kind === 'ClientCredentials') await logDeviceToken(String(clientId));
      const certificates = client?.[certificatesClaim];
      return certificates === undefined ? undefined : { [certificatesClaim]: certificates };
    },
    ttl: {
      AccessToken: lives.personToken,
      ClientCredentials: lives.deviceToken,
      AuthorizationCode: lives.code,
      DeviceCode: lives.deviceCode,
      IdToken: lives.personToken,
      Interaction: lives.interaction,
      // Of nobody yet: a session begins with the first page, and everybody can ask for one.
      Session: (_ctx, { accountId }) => (accountId === undefined ? lives.interaction : lives.session),
      Grant: lives.refreshToken,
      RefreshToken: lives.refreshToken,
    },
    renderError: (ctx, { error, error_description: description }) => {
      page(ctx, (pages) => pages.error(description ?? error, 'en'));
    },
  };
}

/** For each device, which asks every few minutes: one that asks all the time does not fill the audit log. */
const deviceTokenEntries = { perSecond: 0.1, burst: 20, sources: 4_096 };

function deviceTokenLog({ audit }: ProviderParts): (device: string) => Promise<void> {
  const entries = new RateLimit(deviceTokenEntries);
  return async (device) => {
    if (!entries.take(device.replaceAll(':', ' '), Date.now())) return;
    await audit.append({
      ...{ actor: device, action: 'token.issue', subject: device, outcome: 'done', requestId: requestIdOf() },
      details: { by: 'client_credentials' },
    });
  };
}

function featuresOf({ issuer, audience, scopes }: ProviderParts): NonNullable<Configuration['features']> {
  return {
    devInteractions: { enabled: false },
    // Nobody here needs it, and everybody could leave requests in the database by it.
    pushedAuthorizationRequests: { enabled: false },
    userinfo: { enabled: false },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true },
    // Both clients prove who they are, or have no secret to do so with: a token is revoked by whose it is.
    revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
    deviceFlow: {
      enabled: true,
      userCodeInputSource: (ctx, form, _out, error) => {
        page(ctx, (pages) => pages.userCode(form, error !== undefined));
      },
      userCodeConfirmSource: (ctx, form, client, _device, code) => {
        page(ctx, (pages) => pages.userCodeConfirm(form, client.clientName ?? client.clientId, code));
      },
      successSource: (ctx) => {
        page(ctx, (pages) => pages.userCodeDone());
      },
    },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => {
        page(ctx, (pages) => pages.logout(form));
      },
      postLogoutSuccessSource: (ctx) => {
        page(ctx, (pages) => pages.loggedOut());
      },
    },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resourceOf(issuer),
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => {
        if (resource !== resourceOf(issuer)) throw new errors.InvalidTarget();
        return {
          audience,
          scope: scopes.join(' '),
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'ES256' } },
        };
      },
    },
  };
}

function page(ctx: KoaContextWithOIDC, htmlOf: (pages: Pages) => string): void {
  ctx.type = 'html';
  ctx.body = htmlOf(pagesFor(ctx.get('accept-language')));
}

/**
 * Nobody is asked which scopes: the clients are the deployment's own. Each login has a grant of its own with what the
 * account's roles allow then; whatever else was asked for is refused in silence.
 */
async function grantOf(ctx: KoaContextWithOIDC, { issuer, scopes, findAccount }: ProviderParts) {
  const { session, client, provider } = ctx.oidc;
  const account = session?.accountId === undefined ? undefined : await findAccount(session.accountId);
  if (!account || !client) return undefined;
  const grant = new provider.Grant({ accountId: account.subject, clientId: client.clientId });
  const others = scopes.filter((scope) => !account.scopes.includes(scope));
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope(resourceOf(issuer), account.scopes.join(' '));
  if (others.length > 0) grant.rejectResourceScope(resourceOf(issuer), others.join(' '));
  await grant.save();
  return grant;
}
