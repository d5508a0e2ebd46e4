-- Intervals of what a round did to Authority and to Care, whichever is the target.

ALTER TABLE round ADD COLUMN d_auth_low DOUBLE;
ALTER TABLE round ADD COLUMN d_auth_high DOUBLE;
ALTER TABLE round ADD COLUMN d_care_low DOUBLE;
ALTER TABLE round ADD COLUMN d_care_high DOUBLE;
COMMENT ON COLUMN round.d_auth_low IS 'Lower end of d_auth''s 95% interval (nats); NULL in rows older than this column.';
COMMENT ON COLUMN round.d_auth_high IS 'Upper end of d_auth''s 95% interval (nats).';
COMMENT ON COLUMN round.d_care_low IS 'Lower end of d_care''s 95% interval (nats).';
COMMENT ON COLUMN round.d_care_high IS 'Upper end of d_care''s 95% interval (nats).';
