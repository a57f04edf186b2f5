"""The page's words in English. Sentences with `{}` fields are filled with `str.format`."""

from __future__ import annotations

from ui.text.compare_en import CompareEnglish
from ui.text.files_en import FilesEnglish
from ui.text.tools_en import ToolsEnglish


class English(CompareEnglish, FilesEnglish, ToolsEnglish):
    language = "en"
    product = "Qwen3-Next Playground"

    # frame
    tab_chat = "Chat"
    tab_about = "About"
    model = "Model"
    theme = "Light or dark"
    # history
    new_chat = "New chat"
    search = "Search chats"
    pinned = "Pinned"
    today = "Today"
    yesterday = "Yesterday"
    this_week = "Last 7 days"
    older = "Older"
    recorded = "Recorded runs"
    no_history = "Your chats appear here. Ask something to begin one."
    no_matches = "No chat holds these words."
    rename = "Rename"
    pin = "Pin"
    unpin = "Unpin"
    delete = "Delete"
    delete_sure = "Delete this chat for good?"
    delete_turn_sure = "Delete this turn and everything after it?"
    export_markdown = "Save as Markdown"
    export_json = "Save as JSON"
    import_chats = "Import"
    export_all = "Export all"
    rename_to = "New name"
    more = "More"
    only_its_own = "A recording plays only the answer to its own question."
    only_its_own_hint = "Choose a model at the top of the page, then send again."
    # composer
    ask = "Ask anything. Shift+Enter for a new line"
    send = "Send"
    stop = "Stop"
    context_of = "{used} of {total} tokens"
    context_used = "{used} tokens"
    context_full = "This may not fit: about {used} of {total} tokens. You can still send it."
    files = "{name}, about {tokens} tokens"
    # turns
    copy = "Copy"
    copied = "Copied"
    code = {"copy": "Copy", "wrap": "Wrap", "download": "Download", "draw": "Draw", "undrawn": "This diagram could not be drawn."}
    edit = "Edit"
    save_edit = "Send as a new version"
    cancel = "Cancel"
    regenerate = "Regenerate"
    continue_answer = "Continue"
    continue_not = "{engine} cannot write on from an unfinished answer"
    show_request = "Show request"
    save_recording = "Save recording"
    version = "Version {i} of {n}"
    earlier_version = "Earlier version"
    later_version = "Later version"
    jump = "Jump to latest"
    thinking = "Thinking"
    thought = "Thought for {seconds} s"
    thought_unknown = "Thought"
    thought_stopped = "Thinking, stopped"
    tokens = "{n} tokens"
    of_budget = "of {n}"
    empty_answer = "No answer was written: the whole output was thinking."
    empty_stopped = "Stopped before the answer began."
    interrupted = "The app was closed while this was being written. What had arrived is kept."
    scripted = "Scripted sample: written by hand to show the page, not recorded from a model."
    recorded_run = "Recorded run, played back with its own timing."
    # run card
    first_token = "first token"  # nosec B105: words of the page
    thinking_time = "thinking"
    answer_time = "answer"
    thinking_tokens = "thinking"
    answer_tokens = "answer tokens"
    tokens_word = "tokens"
    rate = "tokens/s"
    context = "context"
    guessed = "guessed ahead"
    acceptance = "{share} % right, {pace} tokens a pass"
    cached = "not read again"
    cost = "about"
    seed = "seed"
    finish = "end"
    finish_reasons = {
        "stop": "finished",
        "length": "hit the token limit",
        "content_filter": "cut by the content filter",
        "tool_calls": "ended with calls",
        "unknown": "-",
        "stopped": "stopped by you",
        "error": "error",
        "interrupted": "interrupted",
    }
    cost_note = "Estimate: list price of {as_of}, {region}. {note}"
    # state line
    states = {
        "idle": "ready",
        "queued": "queued",
        "loading": "loading",
        "reading": "reading the prompt",
        "thinking": "thinking",
        "answering": "answering",
        "calling": "waiting for its tools",
        "asking": "waiting for you",
        "done": "done",
        "stopped": "stopped by you",
        "error": "error",
    }
    place = "place {n} in the queue"
    retrying = "{reason} Trying again in {seconds} s (attempt {attempt})."
    not_saved = "This answer is not saved yet, which is tried again: {reason}"
    says_started = "Thinking started"
    says_still = "Still thinking, {n} tokens"
    says_ready = "Answer ready"
    # parameters
    seg_parameters = "Parameters"
    seg_request = "Request"
    seg_connect = "Connect"
    preset = "Preset"
    preset_recommended = "Recommended"
    preset_precise = "Precise"
    preset_creative = "Creative"
    preset_greedy = "Greedy check"
    preset_save = "Save preset"
    preset_delete = "Delete preset"
    preset_needs_name = "Give the preset a name first."
    reset = "Reset"
    parameters = {
        "thinking_budget": "Thinking budget",
        "draft_tokens": "Guess ahead (MTP)",
        "max_tokens": "Max answer tokens",
        "temperature": "Temperature",
        "top_p": "Top-p",
        "top_k": "Top-k",
        "min_p": "Min-p",
        "presence_penalty": "Presence penalty",
        "repetition_penalty": "Repetition penalty",
        "seed": "Seed",
        "stop": "Stop strings",
        "extra": "Extra JSON",
        "enable_thinking": "Think before answering",
    }
    parameter_hints = {
        "thinking_budget": "0 = no limit",
        "draft_tokens": "by the model's own head: -1 = as many as are fastest here, 0 = none. The text stays the same",
        "seed": "-1 = a new one each time; the one used is kept",
        "stop": "one a line, at most {n}",
        "extra": "fields added to the request as they are",
    }
    not_taken = "not taken by {engine}"
    not_for_model = "this model does not think"
    system_prompt = "System prompt"
    system_hint = "Answer in the language of the question."
    resend = "Send earlier thinking again"
    resend_off = "off keeps the prompt short, as the model card advises"
    checkpoint = "Checkpoint"
    checkpoint_instruct = "Instruct"
    checkpoint_thinking = "Thinking"
    checkpoint_hint = "two models: choosing the other one switches thinking on or off"
    greedy_warning = "0 is greedy: a thinking model may then repeat itself"
    # request
    request_empty = "Type a prompt or open a chat: the exact request and code for it appear here."
    request_none = "Nothing is sent: a recording is played from its file."
    request_note = "Exactly what is sent. The key is never in it: snippets read it from the environment."
    # connect
    connect_intro = "Keys stay in this browser session's memory on the server and are never written down."
    connect_dashscope = "DashScope"
    connect_key = "API key"
    connect_region = "Region of the key"
    connect_use = "Use this key"
    connect_server = "OpenAI-compatible server"
    connect_url = "Address, up to /v1"
    connect_server_key = "Key, if it asks for one"
    connect_add = "Test and add"
    connect_ok = "Reached {where}: {n} models."
    connect_ok_key = "Key accepted in {region}."
    connect_key_empty = "Paste a key first."
    connect_cut = " It has more: of a server at most 1,000 models are listed, with names of at most 1,000 characters."
    connect_machine = "This machine"
    machine_hint = "A folder or a Hugging Face name of a model. Its plan says what it takes, before anything is loaded."
    machine_name = "Folder or name"
    machine_plan = "Plan"
    machine_use = "Use"
    machine_unload = "Unload"
    machine_none = "No model is in memory."
    machine_loading = "A model is loading for a question. Stop that answer to give the load up."
    machine_held = "In memory: {name}. {memory}. Steps: {steps}."
    machine_guesses = "Guesses: {guesses}."
    machine_freed = "Unloaded. The next question loads again."
    machine_empty = "Name a folder or a model first."
    machine_examples = "For example ./models/Qwen3-Next-80B-A3B-Instruct-packed or Qwen/Qwen3-0.6B; add @4bit for 4-bit weights."
    # empty page
    hello = "Watch Qwen3-Next think"
    hello_small = "The two small models run on this machine, without a key. They are often wrong: they show the page, not Qwen3-Next."
    card_demo = "Demo model"
    card_demo_text = "A 135M model on this processor. The first use fetches 93 MB once."
    card_tiny = "Tiny Qwen3-Next"
    card_tiny_text = "A real one of 2.6M weights, here already. It thinks through sums and little word problems."
    card_key = "DashScope key"
    card_key_text = "qwen3-next-80b-a3b, hosted. Paste a key and chat."
    card_server = "Your server"
    card_server_text = "vLLM, SGLang, llama.cpp, transformers serve: any OpenAI-compatible address."
    card_replay = "Recorded run"
    card_replay_text = "Watch a sample run with its original timing. Needs nothing."
    starters = (
        ("What is 4821 + 397?", "tiny"),
        ("How many positive integers below 1000 are divisible by neither 6 nor 10? Show the steps.", "think"),
        ("Vì sao mô hình MoE thưa lại nhanh dù có 80 tỷ tham số?", "think"),
        ("Find and mend the bug:\n```python\ndef mean(xs):\n    return sum(xs) / len(xs) - 1\n```", "instruct"),
        ("用三句话解释什么是注意力机制。", "instruct"),
    )
    # errors on the page
    error_actions = {
        "connect": "Open connection settings",
        "regenerate": "Try again",
        "parameters": "Open parameters",
        "new": "New chat",
        "dismiss": "Close",
    }
    shown_as_written = "The rest is shown as it was written: laying it out would take too long."
    shared_history = "Another app has the same chat history open."
    shared_history_hint = (
        "Its answers show here as they are saved. End one of the two, or give each a data folder of its own: PLAYGROUND_DATA_DIR."
    )
    damaged_database = "The history file was damaged and has been set aside as {name}. A new one was begun."
    went_wrong = "This could not be done. Reload the page and try again."
    too_many_events = "Too much is going on here for you at once."
    no_cookie = "This host answers only browsers that keep its cookie. Reload the page."
    too_many_pages = "You have too many pages open here."
    too_many_events_hint = "Close one of your pages, or wait a moment."
    shared_with_network = "Everybody on this network can use and read this page."
    no_such_chat = "This chat is not here any more."
    reload = "Reload the page and try again."
    busy = "An answer is still being written. Stop it first, or wait."
    # replay
    replay_speed = "Speed"
    replay_1x = "1x"
    replay_4x = "4x"
    replay_now = "at once"
    # about
    about = (
        "A page to try Qwen3-Next-80B-A3B and its peers: see the model think, set every parameter, look at the exact request, and "
        "carry it into your own code.",
        "Answers come from DashScope with your own key, from any OpenAI-compatible server, or from this machine. Instruct and "
        "Thinking are two checkpoints; a model that thinks shows its trace, and earlier traces are left out of later requests unless "
        "you ask for them.",
        "Keys typed on this page stay in the session's memory. Chats are kept in a database in the data folder of whoever runs it.",
        "Apache License 2.0.",
    )
    # keys
    keys_title = "Keys"
    keys = (
        ("Enter", "send"),
        ("Shift+Enter", "new line"),
        ("Esc", "stop"),
        ("Ctrl+Shift+O", "new chat"),
        ("Ctrl+K", "search chats"),
        ("Ctrl+B", "chats panel"),
        ("Ctrl+.", "settings panel"),
        ("Alt+T", "fold or unfold thinking"),
        ("Alt+R", "regenerate"),
        ("Alt+← / Alt+→", "versions of the last answer"),
        ("↑ in an empty box", "edit the last question"),
        ("F", "in Compare: maximise the pane under the pointer, and back"),
        ("← → ↓ ↑", "in Compare, judging pairs: left, right, tie, both bad; S skips, Backspace undoes"),
        ("Ctrl+/", "this list"),
    )
