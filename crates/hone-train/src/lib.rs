//! Learning: recipes, optimisers, schedules, checkpoints.
