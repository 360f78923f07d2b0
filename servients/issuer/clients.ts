/** Who asks the embedded issuer for tokens: devices by their certificate, and people through the command line. */
import { decodeProtectedHeader } from 'jose';
import Provider, { type AdapterPayload, type ClientMetadata } from 'oidc-provider';
import type { CaCertificate, VerifiedCertificate } from '../../crypto/certificate.js';
import { GridringError } from '../../crypto/errors.js';
import type { Suite } from '../../crypto/suite.js';
import { certificatesClaim } from '../auth/certificates-claim.js';
import { certificateOf, identityOf, jwk } from '../bindings/token.js';

/** The client that `gridring login` is: a program on somebody's machine, which keeps no secret (RFC 8252). */
export const commandLineClient: ClientMetadata = {
  client_id: 'gridring-cli',
  client_name: 'gridring on the command line',
  application_type: 'native',
  // Any port of it: RFC 8252 §7.3.
  redirect_uris: ['http://127.0.0.1/callback'],
  response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
  token_endpoint_auth_method: 'none',
  dpop_bound_access_tokens: true,
};

export interface DeviceClients {
  readonly suite: Suite;
  readonly trustedRoots: readonly CaCertificate[];
  readonly nowS: () => number;
  /** @throws VerificationError for one that was removed */
  readonly assertNotRemoved: (certificate: VerifiedCertificate) => Promise<void>;
}

/**
 * A device registers nowhere: its client id is its URN, and its key that of the certificate which its assertion shows in
 * `x5c` (RFC 7515 §4.1.6), whose chain is verified here. oidc-provider then verifies the assertion under that key.
 */
export const makeDeviceLookup =
  ({ suite, trustedRoots, nowS, assertNotRemoved }: DeviceClients) =>
  async (id: string): Promise<AdapterPayload | undefined> => {
    const assertion = Provider.ctx?.oidc.params?.['client_assertion'];
    if (typeof assertion !== 'string') return undefined;
    try {
      const certificate = certificateOf({ suite, trustedRoots }, assertion, nowS());
      if (identityOf(certificate) !== id) return undefined;
      await assertNotRemoved(certificate);
      return deviceClient(suite, certificate, id, decodeProtectedHeader(assertion).x5c ?? []);
    } catch (error) {
      if (error instanceof GridringError) return undefined;
      throw error;
    }
  };

const deviceClient = (
  suite: Suite,
  { verifier }: VerifiedCertificate,
  id: string,
  certificates: readonly string[],
): AdapterPayload => ({
  client_id: id,
  [certificatesClaim]: certificates,
  redirect_uris: [],
  response_types: [],
  grant_types: ['client_credentials'],
  token_endpoint_auth_method: 'private_key_jwt',
  jwks: { keys: [{ ...jwk(suite, verifier.publicKey), use: 'sig' }] },
  dpop_bound_access_tokens: true,
});
