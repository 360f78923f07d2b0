/** People of a backend by its API, as somebody who is logged in there and may manage accounts. */
import { sendJson, type ApiPlace } from '../api-request.js';
import { PeerRefusal } from '../bindings/peer-refusal.js';
import type { NewPerson, People, Person, PersonLogin } from './people.js';

interface Page {
  readonly accounts: readonly Person[];
  readonly next?: string;
}
interface MadeLink {
  readonly link: string;
  readonly username: string;
  readonly expiresAt: string;
}

/** Each method @throws PeerRefusal with the backend's code, UnavailableError */
export function peopleByApi(place: ApiPlace): People {
  return {
    via: 'api',
    all: () => allOf(place),
    loginOf: async (id) => {
      try {
        return (await sendJson(place, 'GET', `users/${id}/login`)) as PersonLogin;
      } catch (error) {
        if (error instanceof PeerRefusal && error.code === 'login-unknown') return undefined;
        throw error;
      }
    },
    add: async ({ name, roles, meters }: NewPerson) =>
      (await sendJson(place, 'POST', 'users', { name, username: name, roles, meters })) as Person,
    change: async (id, change) => (await sendJson(place, 'PATCH', `users/${id}`, change)) as Person,
    link: async (id, reset) => {
      const made = (await sendJson(place, 'POST', `users/${id}/login-links`, { reset })) as MadeLink;
      return { username: made.username, link: made.link, expiresS: Math.floor(Date.parse(made.expiresAt) / 1000) };
    },
  };
}

async function allOf(place: ApiPlace): Promise<readonly Person[]> {
  const found: Person[] = [];
  for (let after: string | undefined = ''; after !== undefined;) {
    const query: string = after === '' ? '' : `&after=${after}`;
    const page = (await sendJson(place, 'GET', `users?limit=500${query}`)) as Page;
    found.push(...page.accounts);
    after = page.next;
  }
  return found;
}
