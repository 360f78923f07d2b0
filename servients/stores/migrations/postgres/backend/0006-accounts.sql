-- People, as their issuers name them. Roles and meters are arrays, as JSON.
CREATE TABLE account (
  id text COLLATE "C" PRIMARY KEY,
  issuer text NOT NULL,
  subject text NOT NULL,
  name text NOT NULL,
  roles text NOT NULL,
  meters text NOT NULL,
  disabled integer NOT NULL,
  sessions_from_s bigint NOT NULL,
  revision bigint NOT NULL,
  created_s bigint NOT NULL,
  modified_s bigint NOT NULL,
  UNIQUE (issuer, subject)
);

CREATE TABLE account_certificate (
  cert_hash bytea PRIMARY KEY,
  account text COLLATE "C" NOT NULL REFERENCES account (id)
);
CREATE INDEX account_certificate_account ON account_certificate (account);

-- Tokens that are refused before they end by themselves.
CREATE TABLE revoked_token (
  issuer text NOT NULL,
  token_id text NOT NULL,
  expires_s bigint NOT NULL,
  PRIMARY KEY (issuer, token_id)
);

-- Proofs of possession that have been shown, by their hash.
CREATE TABLE proof_shown (
  proof bytea PRIMARY KEY,
  expires_s bigint NOT NULL
);
CREATE INDEX proof_shown_expiry ON proof_shown (expires_s);

-- One row: counts the changes of who may do what.
CREATE TABLE access_state (revision bigint NOT NULL);
INSERT INTO access_state VALUES (0);
