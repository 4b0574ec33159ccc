"""Training of the embedded tiny model: a procedural world, its captions, its judges and the training loop."""
