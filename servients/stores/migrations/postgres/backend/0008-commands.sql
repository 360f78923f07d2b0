-- Operators' commands, and the receipts of their targets; each numbered in the order of the commits.
CREATE TABLE command (
  position bigint PRIMARY KEY,
  id bytea NOT NULL UNIQUE,
  gid bytea NOT NULL,
  operator bytea NOT NULL,
  sequence bigint NOT NULL,
  expires_s bigint NOT NULL,
  taken_s bigint NOT NULL,
  targets bytea NOT NULL,
  message bytea NOT NULL,
  -- Targets without a receipt.
  waiting integer NOT NULL,
  UNIQUE (gid, operator, sequence)
);
CREATE INDEX command_of_group ON command (gid, position);
CREATE INDEX command_waiting ON command (position) WHERE waiting > 0;
CREATE INDEX command_over ON command (expires_s);

CREATE TABLE command_receipt (
  position bigint PRIMARY KEY,
  command bigint NOT NULL REFERENCES command (position) ON DELETE CASCADE,
  meter bytea NOT NULL,
  received_s bigint NOT NULL,
  message bytea NOT NULL,
  UNIQUE (command, meter)
);

-- One row: the last positions that were given, for what is forgotten must not be numbered again.
CREATE TABLE command_state (
  commands bigint NOT NULL,
  receipts bigint NOT NULL
);
INSERT INTO command_state VALUES (0, 0);
