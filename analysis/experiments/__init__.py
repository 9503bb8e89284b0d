"""The published experiments with neural singular functions, each by one command; see docs/published.md."""
