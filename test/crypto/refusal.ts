import { GridringError } from '../../crypto/errors.js';

/** How `act` is refused, as "class code"; "accepted" when it is not. Any other error fails the test. */
export function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (!(error instanceof GridringError)) throw error;
    return `${error.name} ${error.code}`;
  }
  return 'accepted';
}
