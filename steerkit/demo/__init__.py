"""A synthetic store with a planted truth: as large as a year of work, without a model, and marked as synthetic."""
