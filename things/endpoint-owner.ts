/** Who owns entries of the directory that endpoints described, of which nobody knows more than an address. */

/** No certificate or account has such a name. */
const prefix = 'urn:gridring:endpoint:';

export const ownerOfThings = ({ id }: { readonly id: string }): string => prefix + id;

export const isOfEndpoint = ({ owner }: { readonly owner: string }): boolean => owner.startsWith(prefix);
