import { VerificationError } from '../../crypto/errors.js';
import type { Scope } from './roles.js';

/** The token is good, and not for this. The caller learns which scope it needs (RFC 6750 §3.1). */
export class ScopeError extends VerificationError {
  readonly scope: Scope;

  constructor(scope: Scope, subject: string) {
    super('scope-missing', `${subject} has not the scope ${scope}`);
    this.scope = scope;
  }
}
