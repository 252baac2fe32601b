"""What may be lost without harm: summaries, single flight, quotas; all in Redis or Valkey."""
