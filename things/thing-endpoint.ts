/** A Thing of the directory as an endpoint of the CoRE Resource Directory: what it offers over CoAP. */
import { toBase64Url, utf8 } from '../crypto/bytes.js';
import { limits } from '../crypto/limits.js';
import type { Suite } from '../crypto/suite.js';
import { lookupEndpoint, type LookupEndpoint } from './endpoint-lookup.js';
import type { Link, LinkAttribute } from './link-format.js';
import type { DirectoryEntry } from './stores.js';

export interface ThingEndpointParts {
  readonly suite: Pick<Suite, 'publicSha256'>;
  /** Of a media type, its number in CoAP. */
  readonly formatFor: (mediaType: string) => number | undefined;
  /** Where the directory has the TD of that id. */
  readonly tdUrlOf: (id: string) => string;
}

type Members = Readonly<Record<string, unknown>>;

interface CoapForm {
  readonly url: URL;
  readonly title: string;
  readonly types: string;
  readonly format: number | undefined;
  readonly observed: boolean;
}

/** Undefined for a Thing that has no forms of CoAP. */
export function endpointOfThing(
  { id, td: text }: Pick<DirectoryEntry, 'id' | 'td'>,
  { suite, formatFor, tdUrlOf }: ThingEndpointParts,
): LookupEndpoint | undefined {
  const td = JSON.parse(text) as Members;
  const forms = coapForms(td, formatFor);
  const [first] = forms;
  if (!first) return undefined;
  const name = toBase64Url(suite.publicSha256(utf8(id)));
  const title = typeof td['title'] === 'string' ? [['title', plain(td['title'])] as const] : [];
  const toTd: Link = { href: tdUrlOf(id), attributes: [['rt', 'wot.thing'], ['ct', '432'], ...title] };
  // The name of an endpoint is shorter than an id may be; RFC 6920 says how a digest is written as a name.
  const named = utf8(id).length <= limits.endpointName ? id : `ni:///sha-256;${name}`;
  const base = `${first.url.protocol}//${first.url.host}`;
  return lookupEndpoint({ path: `/rd/${name}`, name: named, sector: '', base }, [], [toTd, ...linksOf(forms)]);
}

/** One link for each address, with all formats that it has. */
function linksOf(forms: readonly CoapForm[]): readonly Link[] {
  const addresses = [...new Set(forms.map(({ url }) => url.href))].slice(0, limits.links);
  return addresses.map((href) => {
    const same = forms.filter(({ url }) => url.href === href);
    const formats = [...new Set(same.flatMap(({ format }) => (format === undefined ? [] : [format])))];
    const types = same[0]?.types ?? '';
    const attributes: readonly (LinkAttribute | undefined)[] = [
      types === '' ? undefined : ['rt', types],
      formats.length === 0 ? undefined : ['ct', formats.join(' ')],
      ['title', same[0]?.title ?? ''],
      same.some(({ observed }) => observed) ? ['obs', null] : undefined,
    ];
    return { href, attributes: attributes.filter((attribute) => attribute !== undefined) };
  });
}

function coapForms(td: Members, formatFor: ThingEndpointParts['formatFor']): readonly CoapForm[] {
  const affordances = ['properties', 'actions', 'events'].flatMap((kind) => Object.entries(membersOf(td[kind])));
  return affordances.flatMap(([name, affordance]) => {
    const { forms, title, '@type': types } = membersOf(affordance);
    return listOf(forms).flatMap((each): readonly CoapForm[] => {
      const { href, contentType, subprotocol } = membersOf(each);
      const url = coapUrl(href, td['base']);
      if (!url) return [];
      return [
        {
          url,
          title: plain(typeof title === 'string' ? title : name),
          types: plain(
            listOf(types)
              .filter((type) => typeof type === 'string')
              .join(' '),
          ),
          format: formatFor(typeof contentType === 'string' ? contentType : 'application/json'),
          observed: subprotocol === 'cov:observe',
        },
      ];
    });
  });
}

/** Of what can be called as it is: no URI template. */
function coapUrl(href: unknown, base: unknown): URL | undefined {
  if (typeof href !== 'string' || /[{}<>]/.test(href)) return undefined;
  const against = typeof base === 'string' ? base : undefined;
  const url = urlOf(href, against);
  if (!url) return undefined;
  return /^coaps?(?:\+(?:tcp|ws))?:$/.test(url.protocol) && url.host !== '' && !/[<>{}]/.test(url.href)
    ? url
    : undefined;
}

/** One parse, where `URL.canParse` before would make it two. */
function urlOf(href: string, base: string | undefined): URL | undefined {
  try {
    return new URL(href, base);
  } catch {
    return undefined;
  }
}

/** Without what a quoted string of links cannot hold. */
const plain = (text: string): string => text.replace(/\p{Cc}/gu, ' ').slice(0, limits.linkAttribute);

const membersOf = (value: unknown): Members => (typeof value === 'object' && value !== null ? (value as Members) : {});

const listOf = (value: unknown): readonly unknown[] => (value === undefined ? [] : [value].flat());
