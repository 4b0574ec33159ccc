"""Time, memory and arithmetic of the networks and of whole clips on the machine at hand."""
