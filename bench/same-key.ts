/** What every measurement ends with: a fast agreement on different keys would be none. */
import { equalBytes } from '../crypto/bytes.js';

/** @throws TypeError when not all hold one and the same key */
export function assertOneKey(keys: readonly (Uint8Array | undefined)[]): void {
  const [first] = keys;
  if (!first || !keys.every((key) => key && equalBytes(key, first))) throw new TypeError('not all hold the same key');
}
