"""Conversations as message trees in a database: what the rest of the backend may use of it."""

from backend.history.records import AnswerError, AnswerUpdate, Conversation, ConversationSummary, Exchange, Node, NodeStatus
from backend.history.statements import new_id
from backend.history.store import History

__all__ = ["AnswerError", "AnswerUpdate", "Conversation", "ConversationSummary", "Exchange", "History", "Node", "NodeStatus", "new_id"]
