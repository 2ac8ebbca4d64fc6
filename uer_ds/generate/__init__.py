"""Generation: prompts in, texts out, token by token."""
