-- What operators propose to the authority, as they signed it.
CREATE TABLE proposal (
  id BLOB PRIMARY KEY,
  gid BLOB NOT NULL,
  taken_s INTEGER NOT NULL,
  expires_s INTEGER NOT NULL,
  message BLOB NOT NULL
) STRICT;
CREATE INDEX proposal_of_group ON proposal (gid, id);
CREATE INDEX proposal_over ON proposal (expires_s);
