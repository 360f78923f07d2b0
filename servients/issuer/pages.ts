/** The issuer's pages: plain HTML without scripts, for every browser and screen reader, by day and by night. */
import { escapeHtml as escaped } from '../html.js';
import { languageOf, type Language } from '../bindings/language.js';
import { longestPassword, shortestPassword } from './password-rules.js';
import { pageTexts } from './page-texts.js';

/** No script, frame or foreign resource; forms go nowhere but here. Text has a contrast of 7:1 and more, edges of 3:1. */
const style = `
:root{color-scheme:light dark;--text:#1b1b1b;--page:#eef1f4;--card:#fff;--edge:#6b7480;--hint:#454c54;--act:#00437a;--on-act:#fff;--fault:#b00020;--fault-page:#fdecee;--focus:#8a4b00}
@media (prefers-color-scheme:dark){:root{--text:#f0f2f4;--page:#12161a;--card:#1d2329;--edge:#8b96a2;--hint:#c3cad1;--act:#9fd0ff;--on-act:#06243f;--fault:#ff9aa5;--fault-page:#3a1c22;--focus:#ffc266}}
*{box-sizing:border-box}
body{font:1rem/1.5 system-ui,sans-serif;margin:0;padding:1rem;color:var(--text);background:var(--page)}
main{max-width:26rem;margin:min(8vh,4rem) auto;padding:1.5rem 1.75rem 2rem;background:var(--card);border-radius:.75rem}
.brand{margin:0;color:var(--hint);font-size:.875rem;letter-spacing:.06em}
h1{font-size:1.5rem;line-height:1.25;margin:.25rem 0 1rem}
label{display:block;margin:1rem 0 .25rem;font-weight:600}
.hint{margin:0 0 .25rem;color:var(--hint)}
input{font:inherit;width:100%;min-height:2.75rem;padding:.5rem .75rem;color:inherit;background:transparent;border:1px solid var(--edge);border-radius:.375rem}
input[readonly]{border-style:dashed}
.acts{display:flex;flex-wrap:wrap;gap:.75rem;margin:1.5rem 0 0}
button{font:inherit;font-weight:600;min-height:2.75rem;padding:.5rem 1.5rem;cursor:pointer;border:1px solid var(--act);border-radius:.375rem;background:var(--act);color:var(--on-act)}
button.other{background:transparent;color:var(--act)}
[role=alert]{margin:0 0 1rem;padding:.5rem .75rem;border-left:.3rem solid var(--fault);background:var(--fault-page)}
code{display:block;margin:.5rem 0;font-size:1.75rem;letter-spacing:.1em}
:focus-visible{outline:.2rem solid var(--focus);outline-offset:.15rem}`.trim();

/** Parameters that are text are shown as text. Forms are those of oidc-provider. */
export interface Pages {
  /** Without a text, the page has ended. `language`: where it is not that of the page. */
  error(text?: string, language?: Language): string;
  login(fault?: string, username?: string): string;
  /** Whoever is logged in already, and has not typed anything for this program. */
  consent(client: string): string;
  /** Where a one-time link leads. */
  link(username: string, fault?: string): string;
  linkUsed(username: string): string;
  userCode(form: string, isWrong: boolean): string;
  userCodeConfirm(form: string, client: string, code: string): string;
  userCodeDone(): string;
  logout(form: string): string;
  loggedOut(): string;
}

/** @param accept the header Accept-Language */
export function pagesFor(accept: string | undefined): Pages {
  const language = languageOf(accept);
  const t = pageTexts[language];
  const page = (title: string, body: string): string => document(language, title, body);
  return {
    error: (text = t.error.ended, language) => page(t.error.title, alert(text, language)),
    login: (fault, username = '') =>
      page(
        t.login.title,
        `${alert(fault)}
<form method="post">
<label for="username">${t.login.username}</label>
<input id="username" name="username" value="${escaped(username)}" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64" required${username === '' ? ' autofocus' : ''}>
<label for="password">${t.login.password}</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="${longestPassword}" required${username === '' ? '' : ' autofocus'}>
<p class="acts"><button type="submit">${t.login.submit}</button></p>
</form>`,
      ),
    consent: (client) =>
      page(
        t.consent.title,
        `<p>${t.consent.asks(escaped(client))}</p>
<p>${t.consent.warning}</p>
<form method="post">
<p class="acts"><button type="submit">${t.consent.goOn}</button>
<button type="submit" name="stop" value="yes" class="other">${t.consent.stop}</button></p>
</form>`,
      ),
    link: (username, fault) =>
      page(
        t.link.title,
        `${alert(fault)}
<form method="post">
<label for="username">${t.link.username}</label>
<input id="username" name="username" value="${escaped(username)}" autocomplete="username" readonly>
<label for="password">${t.link.password}</label>
<p class="hint" id="rules">${t.link.rules}</p>
<input id="password" name="password" type="password" autocomplete="new-password" aria-describedby="rules" minlength="${shortestPassword}" maxlength="${longestPassword}" required autofocus>
<label for="again">${t.link.again}</label>
<input id="again" name="password" type="password" autocomplete="new-password" maxlength="${longestPassword}" required>
<p class="acts"><button type="submit">${t.link.submit}</button></p>
</form>`,
      ),
    linkUsed: (username) => page(t.linkUsed.title, `<p role="status">${t.linkUsed.next(escaped(username))}</p>`),
    userCode: (form, isWrong) =>
      page(
        t.device.title,
        `${alert(isWrong ? t.device.wrong : undefined)}
<label for="user-code">${t.device.type}</label>
${labelled(form)}
<p class="acts"><button type="submit" form="op.deviceInputForm">${t.device.goOn}</button></p>`,
      ),
    userCodeConfirm: (form, client, code) =>
      page(
        t.device.confirmTitle,
        `<p>${t.device.asks(escaped(client))}</p>
<code>${escaped(code)}</code>
<p>${t.consent.warning}</p>
${form}
<p class="acts"><button type="submit" form="op.deviceConfirmForm">${t.device.confirm}</button>
<button type="submit" form="op.deviceConfirmForm" value="yes" name="abort" class="other">${t.consent.stop}</button></p>`,
      ),
    userCodeDone: () => page(t.device.doneTitle, `<p role="status">${t.device.done}</p>`),
    logout: (form) =>
      page(
        t.logout.title,
        `${form}
<p class="acts"><button type="submit" form="op.logoutForm" value="yes" name="logout">${t.logout.submit}</button>
<button type="submit" form="op.logoutForm" class="other">${t.logout.stay}</button></p>`,
      ),
    loggedOut: () => page(t.logout.doneTitle, `<p role="status">${t.logout.done}</p>`),
  };
}

/** `body` is HTML. */
const document = (language: Language, title: string, body: string): string =>
  `<!DOCTYPE html>
<html lang="${language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>${escaped(title)} – gridring</title>
<style>${style}</style>
</head>
<body>
<main>
<p class="brand">gridring</p>
<h1>${escaped(title)}</h1>
${body}
</main>
</body>
</html>
`;

const alert = (fault: string | undefined, language?: Language): string =>
  fault === undefined
    ? ''
    : `<p role="alert"${language === undefined ? '' : ` lang="${language}"`}>${escaped(fault)}</p>`;

/** The field has a placeholder for its name, and a script that no page here may have. */
const labelled = (form: string): string =>
  form.replace(/ (?:onfocus|placeholder)="[^"]*"/g, '').replace('type="text"', 'type="text" id="user-code"');
