/** Media types in which messages travel; `codec.ts` teaches node-wot the second. */
export const jsonType = 'application/json';
export const coseType = 'application/cose';
export const cborType = 'application/cbor';
