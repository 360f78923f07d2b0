/** The verdicts that a gateway shows, as somebody fetches them who knows nothing but its address. */
import { Ajv, type SchemaObject } from 'ajv';
import addFormats from 'ajv-formats';
import { fromBase64Url } from '../crypto/bytes.js';
import { MalformedError, UnavailableError } from '../crypto/errors.js';
import { resolveReference } from '../td/references.js';
import { validateTd } from '../td/validate-td.js';
import { jsonType } from './bindings/media-types.js';
import { refusalOf } from './bindings/peer-refusal.js';

const requestTimeoutMs = 10_000;

/**
 * The property `verdicts` by the Thing Description at the gateway's HTTP address, the newest first; to be verified.
 * @throws PeerRefusal, UnavailableError `gateway-unreachable`, MalformedError `td-invalid`, `message-malformed`
 */
export async function fetchVerdicts(gatewayUrl: string): Promise<readonly Uint8Array[]> {
  const verdict = validateTd(await fetchJson(`${gatewayUrl}/.well-known/wot`));
  const td = verdict.valid ? verdict.td : undefined;
  const form = td?.properties?.['verdicts']?.forms.find(
    ({ href, contentType = jsonType }) => contentType === jsonType && /^http/.test(hrefOf(href, td.base)),
  );
  if (!form) throw new MalformedError('td-invalid', `${gatewayUrl} has no Thing that shows verdicts over HTTP`);
  const value = await fetchJson(hrefOf(form.href, td?.base));
  const isVerdicts = addFormats.default(new Ajv()).compile<{
    readonly verdicts: readonly { readonly message: string }[];
  }>(resolveReference('schemas/verdicts.schema.json') as SchemaObject);
  if (!isVerdicts(value)) throw new MalformedError('message-malformed', 'the gateway gave no list of verdicts');
  return value.verdicts.map(({ message }) => fromBase64Url(message));
}

const hrefOf = (href: string, base: string | undefined): string =>
  URL.canParse(href, base) ? new URL(href, base).href : '';

async function fetchJson(url: string): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(url, { headers: { accept: jsonType }, signal: AbortSignal.timeout(requestTimeoutMs) });
  } catch (cause) {
    throw new UnavailableError('gateway-unreachable', `the gateway at ${url} does not answer`, cause);
  }
  const body = new Uint8Array(await response.arrayBuffer());
  if (!response.ok) throw refusalOf(response.status, body);
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch (cause) {
    throw new MalformedError('message-malformed', `what ${url} gave is not JSON`, cause);
  }
}
