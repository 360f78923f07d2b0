-- What was done of operators' commands, and what they changed.
CREATE TABLE obeying (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  state BLOB NOT NULL
) STRICT;
