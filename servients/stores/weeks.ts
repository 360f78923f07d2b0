/** Entries are kept, and given up, by the week in which they were received. */
export const weekS = 7 * 86_400;

/** When the week of a time began, Unix seconds. */
export const weekOf = (timeS: number): number => timeS - (timeS % weekS);
