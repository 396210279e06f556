"""Facts become prompts, prompts are asked, answers are matched."""
