-- People, as their issuers name them. Roles and meters are arrays, as JSON.
CREATE TABLE account (
  id TEXT NOT NULL PRIMARY KEY,
  issuer TEXT NOT NULL,
  subject TEXT NOT NULL,
  name TEXT NOT NULL,
  roles TEXT NOT NULL,
  meters TEXT NOT NULL,
  disabled INTEGER NOT NULL,
  sessions_from_s INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  created_s INTEGER NOT NULL,
  modified_s INTEGER NOT NULL,
  UNIQUE (issuer, subject)
) STRICT;

CREATE TABLE account_certificate (
  cert_hash BLOB NOT NULL PRIMARY KEY,
  account TEXT NOT NULL REFERENCES account (id)
) STRICT;
CREATE INDEX account_certificate_account ON account_certificate (account);

-- Tokens that are refused before they end by themselves.
CREATE TABLE revoked_token (
  issuer TEXT NOT NULL,
  token_id TEXT NOT NULL,
  expires_s INTEGER NOT NULL,
  PRIMARY KEY (issuer, token_id)
) STRICT, WITHOUT ROWID;

-- Proofs of possession that have been shown, by their hash.
CREATE TABLE proof_shown (
  proof BLOB NOT NULL PRIMARY KEY,
  expires_s INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX proof_shown_expiry ON proof_shown (expires_s);

-- One row: counts the changes of who may do what.
CREATE TABLE access_state (revision INTEGER NOT NULL) STRICT;
INSERT INTO access_state VALUES (0);
