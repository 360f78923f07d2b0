/** What every soak scenario is given, and how it says what it did. */

export interface SoakContext {
  readonly seed: string;
  readonly budgetMs: number;
  /** Of what the scenario counts. */
  readonly most?: number;
  /** The first of 250 that are free. */
  readonly port: number;
  /** A folder of its own, removed afterwards. */
  readonly folder: string;
  readonly say: (line: string) => void;
}

export interface Scenario {
  readonly name: string;
  /** Of the whole budget, where all run. */
  readonly share: number;
  /** @throws Error that says what did not hold */
  readonly run: (context: SoakContext) => Promise<void>;
}

/** @throws Error */
export function require(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}
