/** The issuer's pages: plain HTML without scripts, for every browser and screen reader. */

import { shortestPassword } from './logins.js';

/** No script, frame or foreign resource; forms go nowhere but here. */
const style =
  'body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:3rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}' +
  'label{display:block;margin:1rem 0 .25rem}input{font:inherit;width:100%;padding:.5rem;box-sizing:border-box;border:1px solid #595959}' +
  'button{font:inherit;margin:1.25rem .5rem 0 0;padding:.5rem 1.25rem;border:1px solid #00437a;background:#00437a;color:#fff}' +
  '[role=alert]{border-left:.3rem solid #b00020;padding:.25rem .75rem;background:#fdecee}' +
  'code{font-size:1.5rem}:focus-visible{outline:.2rem solid #ffb000;outline-offset:.1rem}';

const escapes: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};
const escaped = (text: string): string => text.replace(/[&<>"']/g, (c) => escapes[c] ?? c);

/** `body` is HTML. */
const document = (title: string, body: string): string =>
  `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escaped(title)} – gridring</title>
<style>${style}</style>
</head>
<body>
<main>
<h1>${escaped(title)}</h1>
${body}
</main>
</body>
</html>
`;

const alert = (fault: string | undefined): string =>
  fault === undefined ? '' : `<p role="alert">${escaped(fault)}</p>`;

/** `description` is shown as text. */
export const errorPage = (description: string): string => document('This did not work', alert(description));

export const loginPage = (fault?: string, username = ''): string =>
  document(
    'Log in',
    `${alert(fault)}
<form method="post">
<label for="username">User name</label>
<input id="username" name="username" value="${escaped(username)}" autocomplete="username" autocapitalize="none" maxlength="64" required${username === '' ? ' autofocus' : ''}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="256" required${username === '' ? '' : ' autofocus'}>
<button type="submit">Log in</button>
</form>`,
  );

/** Of a person who is logged in already: a program of somebody else's must not get tokens unseen (RFC 8252 §8.6). */
export const consentPage = (client: string): string =>
  document(
    'Go on?',
    `<p>${escaped(client)} asks to act for you. If you did not start this yourself, stop it.</p>
<form method="post">
<button type="submit">Go on</button>
<button type="submit" name="stop" value="yes">Stop it</button>
</form>`,
  );

/** Where a one-time link leads. */
export const linkPage = (username: string, fault?: string): string =>
  document(
    'Choose a password',
    `${alert(fault)}
<form method="post">
<label for="username">User name</label>
<input id="username" name="username" value="${escaped(username)}" autocomplete="username" readonly>
<label for="password">Password, of at least ${shortestPassword} characters</label>
<input id="password" name="password" type="password" autocomplete="new-password" minlength="${shortestPassword}" maxlength="256" required autofocus>
<label for="again">The same again</label>
<input id="again" name="password" type="password" autocomplete="new-password" maxlength="256" required>
<button type="submit">Set it</button>
</form>`,
  );

export const linkUsedPage = (username: string): string =>
  document('The password is set', `<p>Log in as ${escaped(username)} now. This page can be closed.</p>`);

/** Of the device flow; `form` is oidc-provider's. */
export const userCodePage = (form: string, isWrong: boolean): string =>
  document(
    'Log in on another device',
    `${alert(isWrong ? 'This code is not known here. Look again, or begin anew on the device.' : undefined)}
<p id="what">Type the code that the device shows.</p>
${form}
<button type="submit" form="op.deviceInputForm">Go on</button>`,
  );

export const userCodeConfirmPage = (form: string, client: string, code: string): string =>
  document(
    'Is this the code?',
    `<p>${escaped(client)} asks to act for you. It must show this code:</p>
<p><code>${escaped(code)}</code></p>
<p>If you did not start this yourself, stop it.</p>
${form}
<button type="submit" form="op.deviceConfirmForm">It is: go on</button>
<button type="submit" form="op.deviceConfirmForm" value="yes" name="abort">Stop it</button>`,
  );

export const userCodeDonePage = (): string =>
  document('Logged in', '<p>Go back to the device; this page can be closed.</p>');

export const logoutPage = (form: string): string =>
  document(
    'Log out?',
    `${form}
<button type="submit" form="op.logoutForm" value="yes" name="logout">Log out</button>
<button type="submit" form="op.logoutForm">Stay</button>`,
  );

export const loggedOutPage = (): string => document('Logged out', '<p>This page can be closed.</p>');
