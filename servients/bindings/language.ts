/** The languages in which people are answered. */
import { negotiate } from './http-negotiate.js';

export type Language = 'en' | 'de';

/** RFC 9110 §12.5.4; English where neither is asked for. @param accept the header Accept-Language */
export function languageOf(accept: string | undefined): Language {
  const ranges = accept?.toLowerCase().replace(/\b(de|en)-[a-z\d-]+/g, '$1');
  return negotiate(ranges, ['en', 'de']) === 'de' ? 'de' : 'en';
}
