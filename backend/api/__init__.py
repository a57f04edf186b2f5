"""The HTTP API: every engine behind OpenAI's `/v1`, on the page's port. Knows no page; what it serves appears in no one's history."""
