-- Operators' commands, and the receipts of their targets; each numbered in the order of the commits.
CREATE TABLE command (
  position INTEGER PRIMARY KEY,
  id BLOB NOT NULL UNIQUE,
  gid BLOB NOT NULL,
  operator BLOB NOT NULL,
  sequence INTEGER NOT NULL,
  expires_s INTEGER NOT NULL,
  taken_s INTEGER NOT NULL,
  targets BLOB NOT NULL,
  message BLOB NOT NULL,
  -- Targets without a receipt.
  waiting INTEGER NOT NULL,
  UNIQUE (gid, operator, sequence)
) STRICT;
CREATE INDEX command_of_group ON command (gid, position);
CREATE INDEX command_waiting ON command (position) WHERE waiting > 0;
CREATE INDEX command_over ON command (expires_s);

CREATE TABLE command_receipt (
  position INTEGER PRIMARY KEY,
  command INTEGER NOT NULL REFERENCES command (position) ON DELETE CASCADE,
  meter BLOB NOT NULL,
  received_s INTEGER NOT NULL,
  message BLOB NOT NULL,
  UNIQUE (command, meter)
) STRICT;

-- One row: the last positions that were given, for what is forgotten must not be numbered again.
CREATE TABLE command_state (
  commands INTEGER NOT NULL,
  receipts INTEGER NOT NULL
) STRICT;
INSERT INTO command_state VALUES (0, 0);
