"""What a language model is worth: bits per byte, multiple choice, cloze, and the quality of what it writes."""
