"""Fine-tuning by small learned changes on prompts and answers of a user; it knows no interchange."""
