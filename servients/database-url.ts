/** A database is named by a URL, or else by a file. */
export const isUrl = (location: string): boolean => /^[a-z][a-z0-9+.-]+:\/\//i.test(location);

export const isPostgresUrl = (location: string): boolean => /^postgres(?:ql)?:\/\//.test(location);
