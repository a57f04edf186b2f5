"""Tools that a model may call: what they are, and what is checked about them. Runs none."""
