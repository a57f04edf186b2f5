"""Conversations as message trees in a database: what the rest of the backend may use of it."""

from backend.history.database import Database, Store, to_the_end
from backend.history.records import AnswerError, AnswerUpdate, Conversation, ConversationSummary, Exchange, Node, NodeStatus
from backend.history.statements import new_id, preview_of
from backend.history.store import History

__all__ = [
    "AnswerError", "AnswerUpdate", "Conversation", "ConversationSummary", "Database", "Exchange", "History", "Node", "NodeStatus",
    "Store", "new_id", "preview_of", "to_the_end",
]  # fmt: skip
