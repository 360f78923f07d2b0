-- Entries that were kept and then given up, as stretches of consecutive sequences with what chains them to others.
CREATE TABLE dropped_stretch (
  meter INTEGER NOT NULL REFERENCES meter (id),
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  previous_hash BLOB NOT NULL,
  hash BLOB NOT NULL,
  PRIMARY KEY (meter, first)
) STRICT;
