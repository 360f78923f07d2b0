-- Who did what: a hash chain, and what a backend has signed of it.
CREATE TABLE audit_entry (
  sequence INTEGER PRIMARY KEY,
  time_s INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  subject TEXT NOT NULL,
  outcome TEXT NOT NULL,
  request_id TEXT,
  -- JSON, in the order in which it is hashed.
  details TEXT NOT NULL,
  previous_hash BLOB NOT NULL,
  hash BLOB NOT NULL
) STRICT;

CREATE TABLE audit_checkpoint (
  number INTEGER PRIMARY KEY,
  sequence INTEGER NOT NULL,
  message BLOB NOT NULL
) STRICT;

-- One row: where the chain has come to. `log` tells it from every other.
CREATE TABLE audit_state (
  log BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  hash BLOB NOT NULL
) STRICT;
INSERT INTO audit_state VALUES (randomblob(16), 0, zeroblob(32));
