"""The command line: one file a command. `main.main(argv)` runs it."""
