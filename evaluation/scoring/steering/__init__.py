"""What is said at strengths becomes numbers: cause, isolate, fluency, and which strength is chosen."""
