-- What happened, numbered within each topic from 1 in the order of the commits; it refers to what it tells of.
CREATE TABLE event (
  topic TEXT NOT NULL,
  position INTEGER NOT NULL,
  gid BLOB NOT NULL,
  epoch INTEGER,
  attempt INTEGER,
  list_hash BLOB,
  PRIMARY KEY (topic, position)
) STRICT, WITHOUT ROWID;

-- One row. `life` tells the positions in this database from those in another.
CREATE TABLE backend_state (
  life TEXT NOT NULL,
  directory_revision INTEGER NOT NULL
) STRICT;
INSERT INTO backend_state VALUES (lower(hex(randomblob(6))), 0);
