/**
 * RFC 9700 §4.16: no page of the issuer may be framed or scripted. After a login browsers hold redirects to `form-action`
 * too: the way back to a command line is one to the loopback address. Where oidc-provider has a form that sends itself, it adds the
 * hash of the line that does so to `script-src`, and else the page would stay empty.
 */
export const pageHeaders = {
  'content-security-policy':
    "default-src 'none'; script-src 'none'; style-src 'unsafe-inline'; form-action 'self' http://127.0.0.1:*; frame-ancestors 'none'; base-uri 'none'",
  'referrer-policy': 'no-referrer',
  'x-frame-options': 'DENY',
};
