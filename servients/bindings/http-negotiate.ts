/** Content negotiation (RFC 9110 §12.5.1). */

interface MediaRange {
  readonly type: string;
  readonly quality: number;
}

/** The media type of a Content-Type header, without parameters. */
export const mediaTypeOf = (header: string): string => (header.split(';')[0] ?? '').trim().toLowerCase();

/** The offered media type that the caller likes best, the first among equals; undefined when it takes none. */
export function negotiate(accept: string | undefined, offered: readonly string[]): string | undefined {
  const ranges = parseAccept(accept ?? '*/*');
  let best: { readonly type: string; readonly quality: number } | undefined;
  for (const type of offered) {
    const quality = qualityOf(type, ranges);
    if (quality > (best?.quality ?? 0)) best = { type, quality };
  }
  return best?.type;
}

const parseAccept = (accept: string): readonly MediaRange[] =>
  accept.split(',').map((range) => {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim().toLowerCase());
    const weight = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
    return { type, quality: weight === undefined ? 1 : Number(weight) || 0 };
  });

/** That of the most specific range that covers the type. */
function qualityOf(type: string, ranges: readonly MediaRange[]): number {
  const covering = [type, `${type.split('/')[0] ?? ''}/*`, '*/*'];
  for (const pattern of covering) {
    const range = ranges.find((candidate) => candidate.type === pattern);
    if (range !== undefined) return range.quality;
  }
  return 0;
}
