"""Time: benchmarks and fits. Nothing here decides a test."""
