-- Endpoints of the CoRE Resource Directory that registered themselves.
CREATE TABLE endpoint (
  id text PRIMARY KEY,
  name text NOT NULL,
  sector text NOT NULL,
  given_base text,
  source_base text NOT NULL,
  lifetime_s bigint NOT NULL,
  updated_s bigint NOT NULL,
  attributes text NOT NULL,
  links text NOT NULL,
  owner text NOT NULL,
  things text NOT NULL,
  revision bigint NOT NULL,
  UNIQUE (name, sector)
);
CREATE INDEX endpoint_owner ON endpoint (owner);
CREATE INDEX endpoint_expiry ON endpoint ((updated_s + lifetime_s));

-- Of the endpoints: counted up by every change of them.
ALTER TABLE backend_state ADD COLUMN endpoint_revision bigint NOT NULL DEFAULT 0;
