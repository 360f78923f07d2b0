CREATE TABLE enrolment (
  id TEXT NOT NULL PRIMARY KEY,
  cert_hash BLOB NOT NULL UNIQUE,
  -- A CBOR array of DER, leaf first.
  certificates BLOB NOT NULL,
  td TEXT NOT NULL,
  enrolled_s INTEGER NOT NULL
) STRICT;

CREATE TABLE membership (
  gid BLOB NOT NULL PRIMARY KEY,
  version INTEGER NOT NULL,
  bundle BLOB NOT NULL
) STRICT;

CREATE TABLE announced (
  gid BLOB NOT NULL PRIMARY KEY,
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL
) STRICT;

CREATE TABLE record (
  gid BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  record BLOB NOT NULL,
  reported INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (gid, epoch, attempt)
) STRICT;
CREATE INDEX record_unreported ON record (gid, epoch, attempt) WHERE reported = 0;

CREATE TABLE outbox (
  position INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('grant', 'reading')),
  message BLOB NOT NULL,
  added_s INTEGER NOT NULL
) STRICT;

-- Positions are given from here, for AUTOINCREMENT takes as long again as the insert; and counting a long outbox would
-- read all of it.
CREATE TABLE outbox_state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  next_position INTEGER NOT NULL,
  depth INTEGER NOT NULL CHECK (depth >= 0)
) STRICT;
INSERT INTO outbox_state (id, next_position, depth) VALUES (1, 1, 0);

CREATE TABLE meter (
  id INTEGER PRIMARY KEY,
  cert_hash BLOB NOT NULL UNIQUE
) STRICT;

-- Every sequence that was ever accepted, as disjoint stretches that do not touch; one row for a meter without gaps.
CREATE TABLE accepted_stretch (
  meter INTEGER NOT NULL REFERENCES meter (id),
  first INTEGER NOT NULL,
  last INTEGER NOT NULL CHECK (last >= first),
  PRIMARY KEY (meter, first)
) STRICT, WITHOUT ROWID;

-- The newest accepted readings of each meter, to tell a repeat from a conflict and to check the chain.
CREATE TABLE accepted_reading (
  meter INTEGER NOT NULL REFERENCES meter (id),
  sequence INTEGER NOT NULL,
  hash BLOB NOT NULL,
  previous_hash BLOB NOT NULL,
  PRIMARY KEY (meter, sequence)
) STRICT, WITHOUT ROWID;

-- The newest accepted grants. One that was forgotten would be forwarded again, and the backend knows it.
CREATE TABLE accepted_grant (
  id INTEGER PRIMARY KEY,
  meter INTEGER NOT NULL REFERENCES meter (id),
  gid BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  reader BLOB NOT NULL,
  key_hash BLOB NOT NULL,
  UNIQUE (meter, gid, epoch, attempt, reader, key_hash)
) STRICT;
