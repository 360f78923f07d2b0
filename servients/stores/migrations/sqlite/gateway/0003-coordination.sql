-- Lists that were in force, the newest of each group included: members may still deliver what they sealed under them.
CREATE TABLE list (
  id INTEGER PRIMARY KEY,
  gid BLOB NOT NULL,
  list_hash BLOB NOT NULL,
  bundle BLOB NOT NULL,
  last_epoch INTEGER,
  last_attempt INTEGER,
  UNIQUE (gid, list_hash)
) STRICT;

ALTER TABLE record ADD COLUMN list_hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE record ADD COLUMN agreed_s INTEGER NOT NULL DEFAULT 0;
-- The backend's endorsement bundle; or the code with which it refused the record for good.
ALTER TABLE record ADD COLUMN endorsement BLOB;
ALTER TABLE record ADD COLUMN refused TEXT;

-- Who stands in the list and in no roster.
CREATE TABLE departure (
  gid BLOB NOT NULL,
  cert_hash BLOB NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('left', 'revoked')),
  signed_s INTEGER NOT NULL,
  PRIMARY KEY (gid, cert_hash)
) STRICT, WITHOUT ROWID;

-- Who drops out again and again, or was convicted.
CREATE TABLE quarantine (
  gid BLOB NOT NULL PRIMARY KEY,
  state BLOB NOT NULL
) STRICT, WITHOUT ROWID;
