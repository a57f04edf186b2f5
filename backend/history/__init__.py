"""Conversations as message trees in a database: what the rest of the backend may use of it."""

from backend.history.records import AnswerError, AnswerUpdate, Conversation, ConversationSummary, Node, NodeStatus
from backend.history.store import History

__all__ = ["AnswerError", "AnswerUpdate", "Conversation", "ConversationSummary", "History", "Node", "NodeStatus"]
