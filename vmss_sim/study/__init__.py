"""Monte Carlo: replications, common random numbers, statistics, comparison."""
