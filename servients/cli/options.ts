/** Option values as they are parsed and checked, with errors that say what would be right. */
import { InvalidArgumentError } from 'commander';

/** A parser of whole numbers in a range. */
export const wholeNumber =
  (min: number, max: number) =>
  (text: string): number => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < min || value > max) {
      throw new InvalidArgumentError(`a whole number from ${min} to ${max} is needed.`);
    }
    return value;
  };

/** A parser of numbers of at least `min`. */
export const numberFrom =
  (min: number) =>
  (text: string): number => {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value) || value < min) {
      throw new InvalidArgumentError(`a number of at least ${min} is needed.`);
    }
    return value;
  };

/** A web address as a base: without the slash at its end, which most addresses are copied with. */
export function baseUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol) || url.search !== '' || url.hash !== '') {
    throw new InvalidArgumentError('an address such as http://127.0.0.1:8470 is needed.');
  }
  return url.href.replace(/\/+$/, '');
}
