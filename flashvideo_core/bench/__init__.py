"""Measures time, memory and arithmetic of the networks, beside other implementations in the same run."""
