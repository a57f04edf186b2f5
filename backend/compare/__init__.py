"""Side by side: several models answer one question, and people or a judge say which answer is best."""
