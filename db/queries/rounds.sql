-- What did each round of a loop keep, how far did its student go, and why did the loop stop? ($run: a prefix, or NULL for all)
SELECT run_id, round, kept, made, chosen_dose, steered_d_target, steered_coherence, d_target, d_target_low, d_target_high,
    d_target_previous, d_target_previous_low, d_target_previous_high, coherence, coherence_low, coherence_high,
    coherence_previous, d_auth, d_auth_low, d_auth_high, d_care, d_care_low, d_care_high, kl_base, kl_previous, kl_excess, direction_norm, cosine_first, cosine_last,
    cosine_teacher, tau, over, label, best_round, stop, stop_why, seconds, gate1_run, gate2_run, gate3_run, adapter_id
FROM round
WHERE run_id BETWEEN coalesce($run, '') AND concat($run, '~')
ORDER BY run_id, round;
