"""Many trainings under one budget, compared: values of a parameter, strategies, seeds."""
