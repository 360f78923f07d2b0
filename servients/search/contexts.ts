/** The JSON-LD contexts that are known here. None is ever fetched: any other context defines nothing. */
import { readFileSync } from 'node:fs';

const files: Readonly<Record<string, string>> = {
  'https://www.w3.org/2022/wot/td/v1.1': 'td-1.1.jsonld',
  // The terms of TD 1.0 are among those of 1.1, with the same meaning.
  'https://www.w3.org/2019/wot/td/v1': 'td-1.1.jsonld',
  'https://www.w3.org/2022/wot/discovery': 'discovery.jsonld',
};

const loaded = new Map<string, object>();

/** As jsonld.js asks for one. */
export async function loadContext(
  url: string,
): Promise<{ readonly contextUrl: undefined; readonly documentUrl: string; readonly document: object }> {
  const file = Object.hasOwn(files, url) ? files[url] : undefined;
  const document = file === undefined ? { '@context': {} } : (loaded.get(file) ?? readContext(file));
  return { contextUrl: undefined, documentUrl: url, document };
}

function readContext(file: string): object {
  const text = readFileSync(new URL(`../../td/contexts/${file}`, import.meta.url), 'utf8');
  const document = JSON.parse(text) as object;
  loaded.set(file, document);
  return document;
}
