"""Tools on the page: the panel that defines them, the cards of their calls, and answers checked against a schema."""
