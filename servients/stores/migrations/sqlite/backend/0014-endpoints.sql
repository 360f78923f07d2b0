-- Endpoints of the CoRE Resource Directory that registered themselves.
CREATE TABLE endpoint (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  sector TEXT NOT NULL,
  given_base TEXT,
  source_base TEXT NOT NULL,
  lifetime_s INTEGER NOT NULL,
  updated_s INTEGER NOT NULL,
  attributes TEXT NOT NULL,
  links TEXT NOT NULL,
  owner TEXT NOT NULL,
  things TEXT NOT NULL,
  revision INTEGER NOT NULL,
  UNIQUE (name, sector)
) STRICT;
CREATE INDEX endpoint_owner ON endpoint (owner);
CREATE INDEX endpoint_expiry ON endpoint (updated_s + lifetime_s);

-- Of the endpoints: counted up by every change of them.
ALTER TABLE backend_state ADD COLUMN endpoint_revision INTEGER NOT NULL DEFAULT 0;
