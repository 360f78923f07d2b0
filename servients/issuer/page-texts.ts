/** What the issuer's pages say, in the languages that they have. */
import type { Language } from '../bindings/language.js';
import { longestPassword, shortestPassword } from './password-rules.js';

export interface PageTexts {
  readonly error: { readonly title: string; readonly ended: string };
  readonly login: {
    readonly title: string;
    readonly username: string;
    readonly password: string;
    readonly submit: string;
  };
  readonly consent: {
    readonly title: string;
    /** `client` is HTML. */
    readonly asks: (client: string) => string;
    readonly warning: string;
    readonly goOn: string;
    readonly stop: string;
  };
  readonly link: {
    readonly title: string;
    readonly rules: string;
    readonly username: string;
    readonly password: string;
    readonly again: string;
    readonly submit: string;
    readonly differ: string;
  };
  readonly linkUsed: { readonly title: string; /** `username` is HTML. */ readonly next: (username: string) => string };
  readonly device: {
    readonly title: string;
    readonly type: string;
    readonly goOn: string;
    readonly wrong: string;
    readonly confirmTitle: string;
    /** `client` is HTML. */
    readonly asks: (client: string) => string;
    readonly confirm: string;
    readonly doneTitle: string;
    readonly done: string;
  };
  readonly logout: {
    readonly title: string;
    readonly submit: string;
    readonly stay: string;
    readonly doneTitle: string;
    readonly done: string;
  };
  /** By the code of a refusal. */
  readonly faults: Readonly<Record<string, string>>;
  readonly throttled: (waitS: number) => string;
}

const en: PageTexts = {
  error: { title: 'This did not work', ended: 'This page has ended. Begin anew where you came from.' },
  login: { title: 'Log in', username: 'User name', password: 'Password', submit: 'Log in' },
  consent: {
    title: 'Go on?',
    asks: (client) => `You are logged in already, and <strong>${client}</strong> asks to act for you.`,
    warning: 'If you did not start it yourself, stop it.',
    goOn: 'Go on',
    stop: 'Stop it',
  },
  link: {
    title: 'Choose a password',
    rules: `At least ${shortestPassword} characters, and not with your user name in it. A sentence is easy to remember.`,
    username: 'User name',
    password: 'Password',
    again: 'The same password again',
    submit: 'Set the password',
    differ: 'The two passwords are not the same. Type both again.',
  },
  linkUsed: {
    title: 'The password is set',
    next: (username) => `Log in as <strong>${username}</strong> now. This page can be closed.`,
  },
  device: {
    title: 'Log a device in',
    type: 'Code that the device shows',
    goOn: 'Go on',
    wrong: 'This code is not known here. Look again, or begin anew on the device.',
    confirmTitle: 'Is this the code?',
    asks: (client) => `<strong>${client}</strong> asks to act for you. It must show this code:`,
    confirm: 'It is: go on',
    doneTitle: 'Logged in',
    done: 'Go back to the device; this page can be closed.',
  },
  logout: {
    title: 'Log out?',
    submit: 'Log out',
    stay: 'Stay',
    doneTitle: 'Logged out',
    done: 'This page can be closed.',
  },
  faults: {
    'login-refused': 'User name or password is wrong, or the account is disabled.',
    'logins-busy': 'Too many people log in at once. Try again in a moment.',
    'link-unknown': 'This link has been used, or has ended. Ask for another one.',
    'password-unfit': `A password has ${shortestPassword} to ${longestPassword} characters, and does not contain the user name.`,
  },
  throttled: (waitS) => `Too many failed tries. Wait ${waitS} seconds.`,
};

const de: PageTexts = {
  error: {
    title: 'Das hat nicht geklappt',
    ended: 'Diese Seite gilt nicht mehr. Beginnen Sie dort neu, woher Sie kamen.',
  },
  login: { title: 'Anmelden', username: 'Benutzername', password: 'Passwort', submit: 'Anmelden' },
  consent: {
    title: 'Weiter?',
    asks: (client) => `Sie sind schon angemeldet, und <strong>${client}</strong> will für Sie handeln.`,
    warning: 'Wenn Sie das nicht selbst begonnen haben, brechen Sie es ab.',
    goOn: 'Weiter',
    stop: 'Abbrechen',
  },
  link: {
    title: 'Passwort wählen',
    rules: `Mindestens ${shortestPassword} Zeichen, und ohne Ihren Benutzernamen darin. Ein Satz ist leicht zu merken.`,
    username: 'Benutzername',
    password: 'Passwort',
    again: 'Dasselbe Passwort noch einmal',
    submit: 'Passwort setzen',
    differ: 'Die beiden Passwörter sind nicht gleich. Geben Sie beide noch einmal ein.',
  },
  linkUsed: {
    title: 'Das Passwort ist gesetzt',
    next: (username) =>
      `Melden Sie sich jetzt als <strong>${username}</strong> an. Diese Seite kann geschlossen werden.`,
  },
  device: {
    title: 'Ein Gerät anmelden',
    type: 'Code, den das Gerät zeigt',
    goOn: 'Weiter',
    wrong: 'Diesen Code gibt es hier nicht. Sehen Sie noch einmal nach, oder beginnen Sie am Gerät neu.',
    confirmTitle: 'Ist das der Code?',
    asks: (client) => `<strong>${client}</strong> will für Sie handeln und muss diesen Code zeigen:`,
    confirm: 'Ja: weiter',
    doneTitle: 'Angemeldet',
    done: 'Gehen Sie zurück zum Gerät; diese Seite kann geschlossen werden.',
  },
  logout: {
    title: 'Abmelden?',
    submit: 'Abmelden',
    stay: 'Angemeldet bleiben',
    doneTitle: 'Abgemeldet',
    done: 'Diese Seite kann geschlossen werden.',
  },
  faults: {
    'login-refused': 'Benutzername oder Passwort ist falsch, oder das Konto ist gesperrt.',
    'logins-busy': 'Zu viele melden sich zugleich an. Versuchen Sie es gleich noch einmal.',
    'link-unknown': 'Dieser Link wurde schon benutzt, oder er gilt nicht mehr. Bitten Sie um einen neuen.',
    'password-unfit': `Ein Passwort hat ${shortestPassword} bis ${longestPassword} Zeichen und enthält nicht den Benutzernamen.`,
  },
  throttled: (waitS) => `Zu viele Fehlversuche. Warten Sie ${waitS} Sekunden.`,
};

export const pageTexts: Readonly<Record<Language, PageTexts>> = { en, de };
