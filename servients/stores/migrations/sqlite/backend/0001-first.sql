CREATE TABLE membership_list (
  gid BLOB NOT NULL,
  version INTEGER NOT NULL,
  list_hash BLOB NOT NULL,
  bundle BLOB NOT NULL,
  PRIMARY KEY (gid, version)
) STRICT;
CREATE INDEX membership_list_hash ON membership_list (list_hash);

CREATE TABLE epoch (
  gid BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  th2 BLOB NOT NULL,
  list_hash BLOB NOT NULL,
  members INTEGER NOT NULL,
  reason TEXT NOT NULL,
  recorded_s INTEGER NOT NULL,
  record BLOB NOT NULL,
  PRIMARY KEY (gid, epoch, attempt)
) STRICT;

-- Counted here, for counting the readings would read all of them.
CREATE TABLE meter (
  id INTEGER PRIMARY KEY,
  cert_hash BLOB NOT NULL UNIQUE,
  readings INTEGER NOT NULL DEFAULT 0,
  last_sequence INTEGER NOT NULL DEFAULT 0
) STRICT;

-- With rowid: rows of several hundred bytes make a flat index slow (measured: a fifth fewer inserts a second).
CREATE TABLE reading (
  meter INTEGER NOT NULL REFERENCES meter (id),
  sequence INTEGER NOT NULL,
  gid BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  hash BLOB NOT NULL,
  previous_hash BLOB NOT NULL,
  received_s INTEGER NOT NULL,
  message BLOB NOT NULL,
  PRIMARY KEY (meter, sequence)
) STRICT;

CREATE TABLE reader_grant (
  id INTEGER PRIMARY KEY,
  meter INTEGER NOT NULL REFERENCES meter (id),
  reader BLOB NOT NULL,
  gid BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  key_hash BLOB NOT NULL,
  received_s INTEGER NOT NULL,
  message BLOB NOT NULL,
  UNIQUE (meter, reader, gid, epoch, attempt, key_hash)
) STRICT;

CREATE TABLE directory_entry (
  id TEXT NOT NULL PRIMARY KEY,
  td TEXT NOT NULL,
  created_s INTEGER NOT NULL,
  modified_s INTEGER NOT NULL,
  ttl_s INTEGER,
  owner TEXT NOT NULL
) STRICT;
CREATE INDEX directory_entry_expiry ON directory_entry (modified_s + ttl_s) WHERE ttl_s IS NOT NULL;
