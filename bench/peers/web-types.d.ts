/** Names of the browser's types that ts-mls's declarations use, and Node's have elsewhere. */
import type { webcrypto } from 'node:crypto';

declare global {
  type CryptoKey = webcrypto.CryptoKey;
  type BufferSource = ArrayBufferView | ArrayBuffer;
}
