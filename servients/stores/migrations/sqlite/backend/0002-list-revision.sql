-- A list that was changed under a delegation has the version of its base, and a revision above 0.
CREATE TABLE membership_list_with_revision (
  gid BLOB NOT NULL,
  version INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  list_hash BLOB NOT NULL,
  bundle BLOB NOT NULL,
  PRIMARY KEY (gid, version, revision)
) STRICT;
INSERT INTO membership_list_with_revision SELECT gid, version, 0, list_hash, bundle FROM membership_list;
DROP TABLE membership_list;
ALTER TABLE membership_list_with_revision RENAME TO membership_list;
CREATE INDEX membership_list_hash ON membership_list (list_hash);
