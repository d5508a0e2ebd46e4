-- How a loop goes, one row per round that has a student.

CREATE OR REPLACE VIEW progress AS
SELECT r.run_id, run.method, run.trait, r.round, r.auth_nats, r.care_nats, r.d_auth, r.d_care, r.coherence, r.coherence_low,
    r.coherence_high, r.d_target, r.d_target_low, r.d_target_high, r.d_target_previous, r.d_target_previous_low,
    r.d_target_previous_high, r.coherence_previous, r.kl_base, r.kl_previous, r.kl_excess, r.cosine_first, r.kept, r.label,
    r.best_round, r.stop, r.adapter_id
FROM round r
JOIN run ON run.run_id = r.run_id
WHERE r.adapter_id IS NOT NULL;
COMMENT ON VIEW progress IS 'Authority and Care by round of a loop, with coherence, beside the base and the student before.';
COMMENT ON COLUMN progress.auth_nats IS 'Mean over Authority vignettes of log p[Authority] of the round''s student (nats); so care_nats.';
COMMENT ON COLUMN progress.d_auth IS 'Change of auth_nats from the base (nats); so d_care.';
COMMENT ON COLUMN progress.coherence IS 'Answer mass over the base''s (fraction).';
COMMENT ON COLUMN progress.d_target_previous IS 'Shift of the target''s diagonal from the student the round started from (nats).';
COMMENT ON COLUMN progress.kl_excess IS 'KL to the base less that of the round before less KL to the student before (nats per token).';
COMMENT ON COLUMN progress.best_round IS 'Round so far that separates most while it is coherent; NULL where none is.';
