-- Gap reports and checkpoints take their turn among the readings; the meter's count is of readings alone.
ALTER TABLE reading
  ADD COLUMN kind text NOT NULL DEFAULT 'reading' CHECK (kind IN ('reading', 'gap', 'checkpoint'));
CREATE INDEX reading_statement ON reading (meter, kind, sequence) WHERE kind <> 'reading';
