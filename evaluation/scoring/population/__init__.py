"""What share of a corpus is like another corpus, by the words of its sentences; it knows no model."""
