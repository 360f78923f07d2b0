CREATE TABLE verdict (
  id INTEGER PRIMARY KEY,
  gid BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  judged_s INTEGER NOT NULL,
  message BLOB NOT NULL
) STRICT;

-- What the backend refuses while it takes other things: kept, and out of their way until it is tried again.
CREATE TABLE set_aside (
  position INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK (kind IN ('grant', 'reading')),
  message BLOB NOT NULL,
  added_s INTEGER NOT NULL,
  code TEXT NOT NULL
) STRICT;
