"""Laws that a loaded model must obey, and what follows where one is broken."""
