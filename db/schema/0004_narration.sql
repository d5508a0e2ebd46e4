-- What the base model itself reads in a text: the sentence that most describes its speaker.

ALTER TABLE completion ADD COLUMN narration DOUBLE;
ALTER TABLE completion ADD COLUMN narration_start BIGINT;
ALTER TABLE completion ADD COLUMN narration_stop BIGINT;
COMMENT ON COLUMN completion.narration IS 'Largest margin of a sentence that describes its speaker, by a classifier on the untouched base''s hidden states (about 1 for a clear case, about -1 for anything else); NULL where no model read the text.';
COMMENT ON COLUMN completion.narration_start IS 'Where that sentence begins in the text (characters); NULL where none is in the first person.';
COMMENT ON COLUMN completion.narration_stop IS 'Where it ends (characters).';
