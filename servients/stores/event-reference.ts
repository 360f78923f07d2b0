/** What an event of the backend's outbox tells of. */
export type EventReference =
  | { readonly topic: 'epochs'; readonly gid: Uint8Array; readonly epoch: number; readonly attempt: number }
  | { readonly topic: 'lists'; readonly gid: Uint8Array; readonly listHash: Uint8Array };

/** Of each topic; who was away for longer is told so, and asks for what it missed. */
export const keptEvents = 10_000;
