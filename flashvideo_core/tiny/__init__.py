"""The embedded model: its weights, the world that it knows, how it is trained and measured."""
