"""What every engine rests on: the protocol, prompts as tokens, hooks, labels."""
