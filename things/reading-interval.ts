/** How often readings are taken, where that can be changed. */
export interface ReadingInterval {
  /** Whether the source can take readings so often, in seconds. */
  takes(intervalS: number): boolean;
  set(intervalS: number): void;
}
