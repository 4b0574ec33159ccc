"""Weight files: foreign key names, LoRA, opening a file safely, writing whole or not at all."""
