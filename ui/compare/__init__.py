"""The Compare tab: up to four panes on one prompt, judged."""
