/**
 * Every refusal is one of these few classes, told apart by who is at fault, with a stable `code`.
 * What a peer learns of it is decided in one place, by class: see `servients/bindings/status.ts`.
 */
export abstract class GridringError extends Error {
  readonly code: string;

  constructor(code: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.name = new.target.name;
  }
}

/** The bytes are not a message: size, encoding, shape. Nothing was verified yet. */
export class MalformedError extends GridringError {}

/**
 * The message is well formed and does not verify: signature, certificate, role, commitment, tag, MAC, AEAD.
 * A peer is told only that it was refused; the code is for the local log and counters.
 */
export class VerificationError extends GridringError {}

/** The message verifies and does not fit what the receiver knows: stale epoch, replay, unknown membership list. */
export class ConflictError extends GridringError {}

/** What was asked for does not exist here. */
export class NotFoundError extends GridringError {}

/** Larger, more, or more often than allowed. */
export class LimitError extends GridringError {}

/** A part that is needed (disk, backend, gateway) cannot serve now; the caller may try again. */
export class UnavailableError extends GridringError {
  /** When to try again, in seconds from now, where that is known. */
  readonly retryAfterS: number | undefined;

  constructor(code: string, message: string, cause?: unknown, retryAfterS?: number) {
    super(code, message, cause);
    this.retryAfterS = retryAfterS;
  }
}

/** What the operator gave cannot be used: configuration, key file, port, data folder. The message says what to do. */
export class SetupError extends GridringError {}
