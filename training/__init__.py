"""How the two bundled chat models are made: tasks, tokenizer, model, training, export, evaluation."""
