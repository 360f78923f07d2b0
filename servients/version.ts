/** Of the package that this file is part of. */
import { readFileSync } from 'node:fs';

export const softwareVersion = (): string => {
  for (const folder of ['..', '../..']) {
    try {
      const text = readFileSync(new URL(`${folder}/package.json`, import.meta.url), 'utf8');
      return (JSON.parse(text) as { readonly version: string }).version;
    } catch {
      // Compiled code lies one folder deeper than its source.
    }
  }
  return 'unknown';
};
