-- When the newest description of a device was signed. It stays when the entry goes: an older one must not come back.
CREATE TABLE directory_serial (
  id TEXT PRIMARY KEY,
  serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
