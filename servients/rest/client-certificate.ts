/** The certificate that a caller has shown in the TLS handshake (RFC 8705), and that it is the one of its token. */
import { hash } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import { equalBytes } from '../../crypto/bytes.js';
import { VerificationError } from '../../crypto/errors.js';
import type { Principal } from '../auth/principal.js';

/**
 * A gateway must show its certificate wherever this server speaks TLS itself; others may, and then it must be theirs: that of
 * the device, or one that the person's account has enrolled. The token's certificate has been verified up to the root, so
 * that an equal one needs no path of its own; the handshake has proved that the caller holds its key.
 * @param thumbprint of the certificate that the token is bound to (RFC 8705 §3.1), base64url
 * @throws VerificationError `token-certificate`
 */
export function assertShownCertificate(
  request: FastifyRequest,
  caller: Principal,
  thumbprint: string | undefined,
): void {
  const { socket } = request.raw;
  const { raw } =
    socket instanceof TLSSocket ? (socket.getPeerCertificate() as { readonly raw?: Uint8Array }) : { raw: undefined };
  const shown = raw && hash('sha256', raw, 'buffer');
  if (thumbprint !== undefined && shown?.toString('base64url') !== thumbprint) {
    throw refused('the token is bound to the certificate of another connection');
  }
  if (!shown) {
    const isGateway = caller.kind === 'device' && caller.certificate.role === 'gateway';
    if (isGateway && socket instanceof TLSSocket) {
      throw refused('a gateway must show its certificate in the TLS handshake');
    }
    return;
  }
  const own = caller.kind === 'device' ? [caller.certificate.certHash] : (caller.account?.certHashes ?? []);
  if (!own.some((certHash) => equalBytes(certHash, shown))) {
    throw refused('the certificate of the connection is not that of the token');
  }
}

const refused = (reason: string): VerificationError => new VerificationError('token-certificate', reason);
