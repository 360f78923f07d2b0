-- Persistent state of a ring member, one per group: replaced as a whole at every step.
CREATE TABLE member (
  gid BLOB NOT NULL PRIMARY KEY,
  state BLOB NOT NULL
) STRICT;

CREATE TABLE membership (
  gid BLOB NOT NULL PRIMARY KEY,
  bundle BLOB NOT NULL
) STRICT;

CREATE TABLE sealing (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  state BLOB NOT NULL
) STRICT;

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
