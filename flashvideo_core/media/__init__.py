"""Frames, colour and sound <-> files; a draft on disk."""
