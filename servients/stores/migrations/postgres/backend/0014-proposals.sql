-- What operators propose to the authority, as they signed it.
CREATE TABLE proposal (
  id bytea PRIMARY KEY,
  gid bytea NOT NULL,
  taken_s bigint NOT NULL,
  expires_s bigint NOT NULL,
  message bytea NOT NULL
);
CREATE INDEX proposal_of_group ON proposal (gid, id);
CREATE INDEX proposal_over ON proposal (expires_s);
