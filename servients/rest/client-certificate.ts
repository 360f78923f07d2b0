/** The certificate that a caller has shown in the TLS handshake (RFC 8705), and that it is the one of its token. */
import { hash } from 'node:crypto';
import { TLSSocket } from 'node:tls';
import type { FastifyRequest } from 'fastify';
import { equalBytes } from '../../crypto/bytes.js';
import type { VerifiedCertificate } from '../../crypto/certificate.js';
import { VerificationError } from '../../crypto/errors.js';

/**
 * A gateway must show its certificate wherever this server speaks TLS itself; others may, and then it must be theirs. The
 * token's certificate has been verified up to the root, so that an equal one needs no path of its own; the handshake has
 * proved that the caller holds its key.
 * @throws VerificationError `token-certificate`
 */
export function assertShownCertificate(request: FastifyRequest, { certHash, role }: VerifiedCertificate): void {
  const { socket } = request.raw;
  if (!(socket instanceof TLSSocket)) return;
  const { raw } = socket.getPeerCertificate() as { readonly raw?: Uint8Array };
  if (raw === undefined) {
    if (role !== 'gateway') return;
    throw new VerificationError('token-certificate', 'a gateway must show its certificate in the TLS handshake');
  }
  if (!equalBytes(hash('sha256', raw, 'buffer'), certHash)) {
    throw new VerificationError('token-certificate', 'the certificate of the connection is not that of the token');
  }
}
