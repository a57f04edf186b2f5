"""What a person does in a chat, as calls that need no page: send, edit, regenerate, continue. Each stores the turn, begins the
answer's node, and starts a run that the server owns. Knows nothing of how a page shows it.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from backend.attachments import Attachment, as_prompt
from backend.audit import Audited
from backend.checking import check
from backend.choices import Choices
from backend.engines import Access, Engines
from backend.errors import BadInput
from backend.first_writes import FirstWrite
from backend.history import Conversation, Exchange, History, Node, new_id
from backend.provider import HasRegion, Provider
from backend.run import Run
from backend.runs import Runs
from backend.settings import Settings
from backend.steps import Step, messages_of_steps
from backend.stored_text import StoredText
from backend.tools.desk import Desk
from backend.tools.loop import ToolLoop
from backend.tools.running import ToolContext
from backend.tools.toolbox import Toolbox
from backend.turns import current, files_of, messages_of, update_of
from backend.types import ChatRequest, Message

MAX_ACTIVE_RUNS_PUBLIC = 4  # a visitor of a public host; the owner of a machine may start as many as they like
MAX_ACTIVE_RUNS_PER_ADDRESS = 16  # of all visitors behind one address, as an office's: cookies can be had in any number
UNKNOWN_VISITOR = "session:"  # an owner who has no cookie of this host
SEED_LIMIT = 2**31 - 1


@dataclass
class Chat:
    """The chat part of the backend; one for the process."""

    settings: Settings
    engines: Engines
    history: History
    runs: Runs
    toolbox: Toolbox
    stored_text: StoredText = field(default_factory=StoredText)

    async def send(
        self,
        owner: str,
        access: Access,
        conversation_id: str | None,
        text: str,
        choices: Choices,
        attachments: Sequence[Attachment] = (),
        *,
        parent_id: str | None = None,
        replaces: str | None = None,
    ) -> Run:
        """Adds a user's turn at the end of the open branch (or beside `replaces`, an edit) and starts the answer.

        Nothing is stored unless the request could be sent: a missing key or a wrong value leaves the text with the caller.
        """
        if not text.strip() and not attachments:
            raise BadInput("The prompt is empty.", hint="Type a question or attach a file with text in it.")
        before: list[Node] = []
        if conversation_id is not None:
            conversation = await self._whole(owner, conversation_id)
            before = list(conversation.path)
            if replaces is not None:
                before = _above(before, replaces)
                attachments = attachments or conversation.nodes[replaces].attachments
        messages = [*messages_of(before), Message("user", as_prompt(attachments, text))]
        files = (*files_of(before), *attachments)
        request, pipeline = await self.prepare(access, owner, messages, choices, files=files)
        started = Start(conversation_id, before[-1].id if before else None, text, tuple(attachments))
        return self._begin(owner, access, started, request, pipeline, choices)

    async def regenerate(self, owner: str, access: Access, conversation_id: str, node_id: str, choices: Choices) -> Run:
        """A new version of an answer, as its sibling: same question, the panel's present settings."""
        conversation = await self._whole(owner, conversation_id)
        above = _above(list(conversation.path), node_id)
        request, pipeline = await self.prepare(access, owner, messages_of(above), choices, files=files_of(above))
        return self._begin(owner, access, Start(conversation_id, above[-1].id), request, pipeline, choices)

    async def go_on(self, owner: str, access: Access, conversation_id: str, node_id: str, choices: Choices) -> Run:
        """Writes on from an unfinished answer, as its sibling that begins with what was there."""
        conversation = await self._whole(owner, conversation_id)
        above = _above(list(conversation.path), node_id)
        unfinished = conversation.nodes[node_id]
        if unfinished.steps:
            return await self._go_on_calling(owner, access, above, unfinished, choices)
        messages = [*messages_of(above), Message("assistant", unfinished.content, unfinished.thinking)]
        request, pipeline = await self.prepare(access, owner, messages, choices, continue_last=True)
        started = Start(conversation_id, above[-1].id, answer=unfinished.content, thinking=unfinished.thinking or "")
        return self._begin(owner, access, started, request, pipeline, choices)

    async def _go_on_calling(self, owner: str, access: Access, above: Sequence[Node], unfinished: Node, choices: Choices) -> Run:
        """Goes on where an answer that calls tools was left: calls without a result are answered now, what was said after them is
        said anew, since no engine writes on from the middle of such a conversation."""
        *whole, last = unfinished.steps
        opened = any(call.open for call in last.calls)
        steps = tuple(whole) if opened else unfinished.steps
        messages = [*messages_of(above), *messages_of_steps(steps)]
        request, provider = await self.prepare(access, owner, messages, choices, files=files_of(above), pending=last if opened else None)
        started = Start(unfinished.conversation_id, above[-1].id, steps=unfinished.steps)
        return self._begin(owner, access, started, request, provider, choices)

    async def _whole(self, owner: str, conversation_id: str) -> Conversation:
        """To hang something on: all that was asked in it is stored. Raises `StorageError` where that cannot be now."""
        await self.runs.stored(conversation_id)
        return await self.conversation(owner, conversation_id)

    async def conversation(self, owner: str, conversation_id: str) -> Conversation:
        """A chat as it is now: what is stored, and over it the answers this process holds, which may be newer than the last write."""
        await self.runs.written(conversation_id)
        stored = await self.history.load(owner, conversation_id)
        runs = {node_id: self.runs.of_node(node_id, owner) for node_id in stored.nodes}
        nodes = {node_id: current(node, runs[node_id]) for node_id, node in stored.nodes.items()}
        return replace(stored, nodes=nodes, path=tuple(nodes[node.id] for node in stored.path))

    def request_for(self, path: Sequence[Node], draft: str, attachments: Sequence[Attachment], choices: Choices) -> ChatRequest:
        """What would be sent now: the open branch, then the draft where there is one. For `show request` and the context meter."""
        messages = messages_of(path)
        if draft.strip() or attachments:
            messages.append(Message("user", as_prompt(attachments, draft)))
        return _request(messages, choices)

    async def prepare(
        self,
        access: Access,
        owner: str,
        messages: Sequence[Message],
        choices: Choices,
        *,
        continue_last: bool = False,
        counted: bool = True,
        files: tuple[Attachment, ...] = (),
        pending: Step | None = None,
    ) -> tuple[ChatRequest, Audited | ToolLoop]:
        """The checked request with its seed, and the way to its engine; raises what is wrong before anything is stored or sent.

        What runs in the background is not `counted` among a visitor's answers: it has limits of its own. Tools may look at `files`;
        `pending` is a turn whose calls are to be answered first."""
        self.admit(owner, access, answers=1 if counted else 0)
        pipeline = await self.engines.pipeline(choices.model, replace(access, owner=owner))
        request = replace(_request(messages, choices), continue_last=continue_last)
        capabilities = await pipeline.capabilities(request.model)
        if request.parameters.seed is None and "seed" in capabilities.parameters:
            # drawn here and kept, so that every answer can be made again; some services else use one fixed seed for all
            request = replace(request, parameters=replace(request.parameters, seed=secrets.randbelow(SEED_LIMIT)))
        check(request, capabilities)
        if request.tools is None and pending is None:
            return request, pipeline
        run = await self.toolbox.runners(owner, choices.tools)
        return request, ToolLoop(pipeline, choices.tools, Desk(), run, ToolContext(files), pending=pending)

    def admit(self, owner: str, access: Access, *, answers: int = 1) -> None:
        """Raises `BadInput` where a visitor of a public host may not have so many more answers at once, or their address may not.
        Called again at the moment when they begin: others may have begun meanwhile."""
        if not self.settings.public:
            return
        if owner.startswith(UNKNOWN_VISITOR):
            hint = "Reload the page. If it is shown inside another page, open it in a window of its own, or allow its cookie."
            raise BadInput("This host answers only browsers that keep its cookie.", hint=hint, code="no_cookie")
        self.stored_text.check(owner, access.address)
        if answers and self.runs.active(owner) + answers > MAX_ACTIVE_RUNS_PUBLIC:
            raise BadInput("Too many answers are being written at once.", hint="Wait for one to end, or stop it.")
        if answers and access.address and self.runs.active_from(access.address) + answers > MAX_ACTIVE_RUNS_PER_ADDRESS:
            raise BadInput("Too many answers are being written for your network at once.", hint="Wait a moment and send it again.")

    def _begin(self, owner: str, access: Access, at: Start, request: ChatRequest, provider: Provider, choices: Choices) -> Run:
        self.admit(owner, access)
        return self.start(owner, replace(at, address=access.address), request, provider, choices)

    def start(self, owner: str, at: Start, request: ChatRequest, provider: Provider, choices: Choices) -> Run:
        """Starts the run at once; the database is written beside it, so that no answer waits for a disk."""
        region = provider.region if isinstance(provider, HasRegion) else None
        run = Run(
            owner=owner,
            conversation_id=at.conversation_id or new_id(),
            node_id=at.answer_id or new_id(),
            model=choices.model,
            request=request,
            address=at.address,
            region=region,
            steps=at.steps,
        )
        if isinstance(provider, ToolLoop):
            run.desk, run.answerers = provider.desk, {spec.tool.name: (spec.by, spec.where) for spec in choices.tools.active}
        run.answer.append(at.answer)
        run.thinking.append(at.thinking)
        exchange = Exchange(
            conversation_id=run.conversation_id,
            answer_id=run.node_id,
            new_chat=at.conversation_id is None or at.new_chat,
            parent_id=at.parent_id,
            question=at.question,
            attachments=at.attachments,
            model=choices.model,
            panel=choices.stored(),
            parameters={**choices.stored(), "seed": request.parameters.seed},
            run_id=run.id,
            region=region,
            content=at.answer,
            thinking=at.thinking,
            steps=at.steps,
        )
        self.count(owner, at.address, len(at.question or "") + sum(len(each.text) for each in at.attachments))
        run.when_ended(lambda: self.count(owner, at.address, len(run.answer.text) + len(run.thinking.text)))
        return self.runs.start(run, provider, partial(self._store, owner, exchange, at.after))

    def keep(self, owner: str, access: Access, text: str) -> None:
        """Counts what is about to be imported. Raises `BadInput` where a visitor of a public host has brought enough for today."""
        if self.settings.public:
            self.stored_text.check(owner, access.address, len(text))
        self.count(owner, access.address, len(text))

    def count(self, owner: str, address: str, chars: int) -> None:
        """Counts what has been stored for a visitor of a public host."""
        if self.settings.public:
            self.stored_text.add(owner, address, chars)

    async def _store(self, owner: str, exchange: Exchange, after: FirstWrite | None) -> None:
        if after is not None:
            await after()
        await self.history.begin(owner, exchange)


@dataclass(frozen=True, slots=True)
class Start:
    """Where an answer hangs (`conversation_id` `None`: a new chat), and what it begins with. With `new_chat` and `answer_id` the
    chat and the answer get ids that were given out beforehand; `after` is what must be stored before them; `address` is where it was
    asked from."""

    conversation_id: str | None
    parent_id: str | None
    question: str | None = None
    attachments: tuple[Attachment, ...] = ()
    answer: str = ""
    thinking: str = ""
    steps: tuple[Step, ...] = ()
    new_chat: bool = False
    answer_id: str | None = None
    after: FirstWrite | None = None
    address: str = ""


def _above(path: Sequence[Node], node_id: str) -> list[Node]:
    """The part of the branch above `node_id`."""
    for place, node in enumerate(path):
        if node.id == node_id:
            return list(path[:place])
    raise BadInput("This turn is not in the open branch.", hint="Reload the page and try again.")


def _request(messages: Sequence[Message], choices: Choices) -> ChatRequest:
    system = [Message("system", choices.system.strip())] if choices.system.strip() else []
    model = choices.model.partition(":")[2]
    if choices.model.startswith("server:"):
        model = model.partition("/")[2]
    return ChatRequest(
        model=model,
        messages=(*system, *messages),
        parameters=choices.parameters,
        resend_thinking=choices.resend_thinking,
        tools=choices.tools.offered(),
        format=choices.format,
    )


async def save_runs(history: History, runs: Sequence[Run]) -> None:
    """Writes the present state of runs down, all in one transaction."""
    await history.write_answers([update_of(run) for run in runs])
